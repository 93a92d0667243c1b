"""What TensorRT says: into Python's logging, and the last errors into ours.

TensorRT prints to the terminal unless it is given a logger, and tells why a call failed nowhere else.
Everything goes to the logger ``deploykit.tensorrt.messages``, which is silent unless the application asks.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from typing import Any

__all__ = ["Messages", "make_logger"]

_log = logging.getLogger("deploykit.tensorrt.messages")
_log.addHandler(logging.NullHandler())  # without a handler Python prints the errors, which ours already tell
_KEPT = 20
# Machines without a driver: these follow every other error, and every start, and explain nothing.
_NOISE = re.compile(r"cudaError 35\b|cudaErrorInsufficientDriver")
_PLACE = re.compile(
    r"^\[?[\w./]+::[\w:~<>]+::\d+\]?:? ?|^I\w+::\w+: |\[[\w./]+:\d+: ~?\w+\] | In \w+ at [\w./]+:\d+"
)


class Messages:
    """The last errors and warnings, oldest first."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=_KEPT)

    def add(self, text: str, level: int) -> None:
        """Log a message and keep it when it is an error that explains something."""
        if _NOISE.search(text):
            level = logging.DEBUG
        _log.log(level, "%s", text)
        if level >= logging.ERROR:
            self._errors.append(text)

    def clear(self) -> None:
        """Forget what was said, before a call whose failure is to be explained."""
        self._errors.clear()

    def last_error(self) -> str:
        """The first error since ``clear``, in one line and without places in TensorRT's sources."""
        text = self._errors[0] if self._errors else "it gave no reason"
        return _PLACE.sub("", " ".join(text.split())).strip()[:400]


def make_logger(trt: Any, messages: Messages) -> Any:
    """A logger of the given module. Called from several of TensorRT's own threads."""
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.INFO,
        severity.INFO: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base is known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            # VERBOSE is thousands of lines per build.
            if severity in levels:
                messages.add(msg, levels[severity])

    return Logger()
