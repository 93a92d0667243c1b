"""A second process that speaks where the first one cannot: under a limit of address space.

Compiled libraries end the whole process when an allocation fails: torch's import aborts in a static
initialiser, OpenBLAS and OpenMP crash when a thread gets no stack. Where such a limit is set (``ulimit -v``,
``prlimit --as``), the command runs in a child, and whoever started it is told what happened.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploykit_runtimes.exhausted import EXHAUSTED, address_limit, exhausted, told_size
from deploykit_runtimes.printable import printable
from deploykit_runtimes.scratch import sweep

__all__ = ["supervised"]

_CRASHES = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGKILL}
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NO_MEMORY_FOR_THREADS = 127  # of glibc's dynamic linker
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def supervised(command: Callable[[], int]) -> int:
    """Run a command, in a child process where its address space is limited, and return its exit code."""
    limit = address_limit()
    if limit is None or not sys.platform.startswith("linux"):
        return command()
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child == 0:
        _die_with_parent()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        _end(command)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return _ended(code, limit) if code < 0 or code == _NO_MEMORY_FOR_THREADS else code


def _end(command: Callable[[], int]) -> NoReturn:
    """Run the command and end without the interpreter's own end, which wants memory again."""
    code = EXHAUSTED
    sys.unraisablehook = lambda _: None  # what objects say that end without memory
    try:
        code = command()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else EXHAUSTED
    except KeyboardInterrupt:
        code = 130
        sys.stderr.write("interrupted\n")
    except Exception as error:  # noqa: BLE001 - before the command line could be loaded
        sys.stderr.write(f"error: {printable(exhausted(error) or repr(error))}\n")
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # its reader is gone, or it was closed
                stream.flush()
        os._exit(code)


def _ended(code: int, limit: int) -> int:
    """Tell what became of the child, and clear up after it."""
    sweep(Path(tempfile.gettempdir()))
    if code < 0 and -code not in _CRASHES:
        return 128 - code
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    sys.stderr.write(
        f"error: out of memory: a library ended the process ({name}) when it got no more; "
        f"this process may have {told_size(limit)} (ulimit -v)\n"
        "  Raise the limit: torch alone takes more than 3 GB of address space, whatever the model.\n"
    )
    return EXHAUSTED


def _die_with_parent() -> None:
    """A supervisor that is killed takes its child along."""
    import ctypes

    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
