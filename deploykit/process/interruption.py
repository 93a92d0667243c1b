"""Ctrl-C and the other signals that end a command: cleanly, within seconds, and without noise."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from deploykit_runtimes.machine.scratch import discard_scratch

from deploykit.process.interrupted import EXIT_INTERRUPTED, INTERRUPTED
from deploykit.process.wishes import Wishes

__all__ = ["Interrupted", "at_ending", "ending_signals", "held_signals", "keep_handlers"]

_PATIENCE = 2.0
"""Seconds for a command to end in order. Compiled code sees no signal before it returns, which takes minutes
where it compiles or simplifies a large graph."""

_KICK: signal.Signals | None = getattr(signal, "SIGURG", None)
"""What nobody means by, and what is ignored where nobody handles it."""

_KICKS = 20
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C as a class of its own. CPython kills a process with SIGINT if a plain KeyboardInterrupt once
    passed through the ``exec`` of a string, as it does in imports, even if it was caught.
    """


class _Ending:
    """What a signal asked for: an exception in the main thread, at once or as soon as that is safe."""

    def __init__(self) -> None:
        self.interrupted = threading.Event()
        self.waiting: BaseException | None = None
        self.held = False
        self._wishes = Wishes()

    def terminate(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM, and SIGHUP of a terminal that was closed."""
        if self._wishes.is_new(signum):
            self._raise(SystemExit(128 + signum), frame)

    def interrupt(self, signum: int, frame: FrameType | None) -> None:
        """Ctrl-C. A second one ends the process."""
        if not self._wishes.is_new(signum):
            return
        if self.interrupted.is_set():
            _end_now()
        self.interrupted.set()
        self._raise(Interrupted(), frame)

    def look_again(self, _signum: int, frame: FrameType | None) -> None:
        """Handle the watcher's signal, whose only purpose is to interrupt a system call."""
        self.raise_waiting(frame)

    def raise_waiting(self, frame: FrameType | None) -> None:
        """Raise the pending exception, if there is one and it may be raised now."""
        if self.waiting is not None:
            self._raise(self.waiting, frame)

    def _raise(self, error: BaseException, frame: FrameType | None) -> None:
        """Raise, but not inside compiled libraries: some, such as torch, abort if Python code raises during
        their import.
        """
        if self.held or _is_importing(frame):
            self.waiting = error
            return
        self.waiting = None
        raise error


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


_process = {"ends with the command": False}
_endings: list[_Ending] = []
_at_ending: list[Callable[[], None]] = []


def at_ending(function: Callable[[], None]) -> None:
    """Register a function that is called whenever a run of ``ending_signals`` ends."""
    _at_ending.append(function)


def _call_at_ending() -> None:
    for function in _at_ending:
        function()


@contextmanager
def held_signals() -> Iterator[None]:
    """Delay the exception of a signal during a few lines that must not be interrupted."""
    ending = _endings[-1] if _endings else None
    if ending is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    ending.held = True
    try:
        yield
    finally:
        ending.held = False
    ending.raise_waiting(None)


def keep_handlers() -> None:
    """Keep the handlers of ``ending_signals`` installed, for a process that ends with its command.

    A supervisor forwards signals that its whole group received. If one arrived after the command had ended
    and the old handlers were restored, it would end the process with another exit code.
    """
    _process["ends with the command"] = True


@contextmanager
def ending_signals() -> Iterator[threading.Event]:
    """Let a run that is asked to end remove its temporary files; Ctrl-C sets the event.

    Outside the main thread, the program that embeds the command line owns the signals.
    """
    ending = _Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending.interrupted
        return
    handlers: dict[signal.Signals, Any] = {signal.SIGTERM: ending.terminate, signal.SIGINT: ending.interrupt}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = ending.terminate
    with _watched(ending):
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        _endings.append(ending)
        try:
            yield ending.interrupted
        finally:
            _call_at_ending()
            _endings.remove(ending)
            for number, handler in before.items() if not _process["ends with the command"] else ():
                signal.signal(number, handler)


@contextmanager
def _watched(ending: _Ending) -> Iterator[None]:
    """End the process if compiled code prevents Ctrl-C from being answered.

    CPython writes every signal to a pipe at once, whatever the main thread is doing.
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
            if {signal.SIGINT, signal.SIGTERM, _HANGUP} & set(noted):
                _wake_main(done)
            if done.is_set():
                continue
            if signal.SIGINT in noted:
                _end_now()
            if isinstance(ending.waiting, SystemExit):
                _call_at_ending()
                discard_scratch()
                os._exit(int(str(ending.waiting)))

    kicked = signal.signal(_KICK, ending.look_again) if _KICK is not None else None
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
    """Interrupt the system call that the main thread may be waiting in, until it is done or patience ends.

    A signal that arrives just before such a call does not interrupt it: CPython would handle it when the
    call returns, which may be never.
    """
    for _ in range(_KICKS):
        if done.wait(_PATIENCE / _KICKS):
            return
        if _KICK is not None:
            signal.pthread_kill(threading.main_thread().ident or 0, _KICK)


def _end_now() -> None:
    _call_at_ending()
    discard_scratch()
    os.write(2, INTERRUPTED.encode())
    os._exit(EXIT_INTERRUPTED)
