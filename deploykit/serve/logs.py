"""The server's log: readable lines, or JSON for a collector."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from typing import TextIO

from deploykit_runtimes.text.printable import printable, printable_json, printable_lines

__all__ = ["start_log"]

_NAME = "deploykit.serve"
_OTHERS = {
    "uvicorn.error": logging.WARNING,
    "asyncio": logging.WARNING,
    "grpc": logging.WARNING,
    "python_multipart": logging.ERROR,  # it warns of what the client hears already
}
"""What the server is made of logs here too, from these levels on."""


class _Readable(logging.Formatter):
    """``12:30:05 loaded yolo11n version 1``; text from clients cannot break a line."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        shown = printable(record.getMessage().replace("\n", " "))
        return "\n  ".join([f"{clock} {level}{shown}", *self._trace(record)])

    def _trace(self, record: logging.LogRecord) -> list[str]:
        """The lines of a traceback, indented below their record, so that none looks like another record."""
        text = self.formatException(record.exc_info) if record.exc_info else ""
        return printable_lines(text).split("\n") if text else []


class _Json(logging.Formatter):
    """One object on each line."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return printable_json(json.dumps(entry))


def start_log(*, as_json: bool, level: str = "info", stream: TextIO | None = None) -> logging.Logger:
    """The server's logger, which writes only to one stream (stderr).

    Args:
        as_json: Write lines of JSON.
        level: The lowest level to log; ``debug`` adds a line for each request.
        stream: The stream to write to.
    """
    # Pillow's words on damaged files, which every client could have written here.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    logger = logging.getLogger(_NAME)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if as_json else _Readable())
    wanted = logging.getLevelNamesMapping()[level.upper()]
    for name, least in {_NAME: logging.DEBUG, **_OTHERS}.items():
        part = logging.getLogger(name)
        part.handlers = [handler]
        part.setLevel(max(wanted, least))
        part.propagate = False
    return logger
