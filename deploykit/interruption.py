"""Ctrl-C and the other signals that end a command: in order, within seconds, and without a word too many."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from deploykit_runtimes.scratch import discard_scratch

__all__ = ["EXIT_INTERRUPTED", "INTERRUPTED", "Interrupted", "ending_signals"]

EXIT_INTERRUPTED = 130
INTERRUPTED = "interrupted\n"
"""The one line that an interrupted command says."""

_PATIENCE = 2.0
"""Seconds for a command to end in order. Compiled code sees no signal before it returns, which takes minutes
where it compiles or simplifies a large graph."""

_KICK: signal.Signals | None = getattr(signal, "SIGURG", None)
"""What nobody means by, and what is ignored where nobody handles it."""

_KICKS = 20

_SAME = 0.5
"""Seconds in which a second Ctrl-C is the first one again, told to a process and to its group."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, as a class of its own: CPython ends a process by SIGINT where a plain KeyboardInterrupt once
    passed through the ``exec`` of a string, as it does in imports, although it was caught."""


@contextmanager
def ending_signals() -> Iterator[threading.Event]:
    """Let a run that is told to end remove its temporary files; the event tells of a Ctrl-C.

    In another thread than the main one, whoever embeds the command line owns the signals.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    since = 0.0

    def terminate(signum: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        nonlocal since
        if not interrupted.is_set():
            interrupted.set()
            since = time.monotonic()
            raise Interrupted
        if time.monotonic() - since > _SAME:
            _end_now()

    handlers: dict[signal.Signals, Any] = {signal.SIGTERM: terminate, signal.SIGINT: interrupt}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = terminate  # the terminal was closed
    with _watched():
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield interrupted
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _watched() -> Iterator[None]:
    """End the process where compiled code keeps a Ctrl-C from being answered.

    CPython notes every signal in a pipe at once, whatever the main thread is at.
    """
    try:
        reading, writing = os.pipe()
    except OSError:  # no file can be opened: whoever needs one says so
        yield
        return
    os.set_blocking(writing, False)
    done = threading.Event()

    def watch() -> None:
        while noted := os.read(reading, 64):
            if {signal.SIGINT, signal.SIGTERM} & set(noted):
                _wake_main(done)
            if signal.SIGINT in noted and not done.is_set():
                _end_now()

    kicked = signal.signal(_KICK, _nothing) if _KICK is not None else None
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="ctrl-c", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        if _KICK is not None:
            signal.signal(_KICK, kicked or signal.SIG_DFL)
        os.close(writing)
        watcher.join()
        os.close(reading)


def _wake_main(done: threading.Event) -> None:
    """Break off the system call that the main thread may wait in, until it is done or patience ends.

    A signal that comes when such a call is about to begin does not break it off: CPython would answer it when
    the call returns, which may be never.
    """
    for _ in range(_KICKS):
        if done.wait(_PATIENCE / _KICKS):
            return
        if _KICK is not None:
            signal.pthread_kill(threading.main_thread().ident or 0, _KICK)


def _nothing(_signum: int, _frame: FrameType | None) -> None:
    """What breaks a system call off says nothing itself."""


def _end_now() -> None:
    discard_scratch()
    os.write(2, INTERRUPTED.encode())
    os._exit(EXIT_INTERRUPTED)
