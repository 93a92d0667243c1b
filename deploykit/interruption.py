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
            if signal.SIGINT in noted and not done.wait(_PATIENCE):
                _end_now()

    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="ctrl-c", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        os.close(writing)
        watcher.join()
        os.close(reading)


def _end_now() -> None:
    discard_scratch()
    os.write(2, INTERRUPTED.encode())
    os._exit(EXIT_INTERRUPTED)
