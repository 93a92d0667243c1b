"""What Python itself prints: warnings, and tracebacks of uncaught errors.

Both quote what libraries say, and those quote files; so they go through ``deploykit.terminal`` too.
"""

from __future__ import annotations

import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import TextIO

from deploykit.terminal import echo

__all__ = ["install"]


def install() -> None:
    """Install these hooks for the rest of the process, which belongs to deploykit."""
    warnings.showwarning = _show_warning
    sys.excepthook = _show_error
    sys.unraisablehook = _show_unraisable
    threading.excepthook = _show_thread


def _show_warning(  # noqa: PLR0917 - Python's signature
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,
) -> None:
    _show(warnings.formatwarning(message, category, filename, lineno, line))


def _show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _show("".join(traceback.format_exception(kind, error, trace)))


def _show_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    told = f"{unraisable.err_msg or 'Exception ignored in'}: {unraisable.object!r}\n"
    error = unraisable.exc_value
    _show(told + ("".join(traceback.format_exception(error)) if error else ""))


def _show_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread else "unknown"
    _show(f"Exception in thread {name}:\n" + "".join(traceback.format_exception(args.exc_value)))


def _show(text: str) -> None:
    echo(*text.rstrip("\n").split("\n"), err=True)
