"""A second process that reports what the first one cannot.

Compiled libraries end the whole process when an allocation fails: torch's import aborts in a static
initialiser, OpenBLAS and OpenMP crash when a thread gets no stack. If such a limit is set (``ulimit -v``,
``prlimit --as``), the command runs in a child process, and the parent says what happened.

Some image decoders (JPEG 2000) hold the interpreter's lock for half a minute or longer; until they release
it, no thread of the process can handle Ctrl-C. Commands that decode the user's images therefore run in
a child too, which can be killed.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploykit_runtimes.machine.exhausted import EXHAUSTED, address_limit, exhausted, stated_size
from deploykit_runtimes.machine.scratch import discard_scratch, sweep
from deploykit_runtimes.text.printable import printable

from deploykit.process.interrupted import EXIT_INTERRUPTED, INTERRUPTED
from deploykit.process.interruption import keep_handlers

__all__ = ["decodes_images", "supervised"]

_CRASHES = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGKILL}
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NO_MEMORY_FOR_THREADS = 127  # of glibc's dynamic linker
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h


_PATIENCE = 3.0
"""Seconds for a child that decodes images to end: one more than it takes itself to end compiled code."""


def decodes_images(arguments: Sequence[str]) -> bool:
    """Whether a command line is one that decodes the user's images."""
    words = (word for word in arguments if not word.startswith("-"))
    watched = sys.gettrace() or sys.getprofile()  # by a debugger or profiler, which see no child
    return next(words, "") in ("predict", "verify") and not watched


def supervised(command: Callable[[], int], *, impatient: bool = False) -> int:
    """Run a command, in a child process if its address space is limited, and return its exit code.

    Args:
        command: What is run.
        impatient: Always run it in a child, which is killed if it does not end within seconds of being
            asked to.
    """
    limit = address_limit()
    if (limit is None and not impatient) or not sys.platform.startswith("linux"):
        return command()
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child == 0:
        _die_with_parent()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        _end(command)

    asked: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)
        if impatient and not asked:
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
        asked.append(number)

    def kill(_number: int, _frame: FrameType | None) -> None:
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL and asked and impatient:
        return _killed(asked[0])
    return _ended(code, limit) if code < 0 or code == _NO_MEMORY_FOR_THREADS else code


def _killed(number: int) -> int:
    """Clean up after a child that did not end when asked to; returns the exit code of the signal."""
    sweep(Path(tempfile.gettempdir()))
    if number == signal.SIGINT:
        sys.stderr.write(INTERRUPTED)
    return 128 + number


def _end(command: Callable[[], int]) -> NoReturn:
    """Run the command, and exit without the interpreter's own shutdown, which needs memory again."""
    code = EXHAUSTED
    keep_handlers()
    sys.unraisablehook = lambda _: None  # what objects say that end without memory
    try:
        code = command()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else EXHAUSTED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        sys.stderr.write(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - before the command line could be loaded
        sys.stderr.write(f"error: {printable(exhausted(error) or repr(error))}\n")
    finally:
        discard_scratch()  # what a Ctrl-C in the middle of cleaning up left
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # its reader is gone, or it was closed
                stream.flush()
        os._exit(code)


def _ended(code: int, limit: int | None) -> int:
    """Report how the child ended, and clean up after it."""
    sweep(Path(tempfile.gettempdir()))
    if code < 0 and -code not in _CRASHES:
        return 128 - code
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if limit is None:
        killed = code == -signal.SIGKILL
        why = "it was killed, as systems do that run out of memory" if killed else "a library ended it"
        sys.stderr.write(f"error: the process that does the work is gone: {why} ({name})\n")
        return 128 - code if code < 0 else code
    sys.stderr.write(
        f"error: out of memory: a library ended the process ({name}) when it got no more; "
        f"this process may have {stated_size(limit)} (ulimit -v)\n"
        "  Raise the limit: torch alone takes more than 3 GB of address space, whatever the model.\n"
    )
    return EXHAUSTED


def _die_with_parent() -> None:
    """Make the child die with a supervisor that is killed."""
    import ctypes

    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
