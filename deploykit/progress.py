"""Progress of long work: a moving line on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from deploykit_runtimes.text.printable import printable

from deploykit.terminal import dim, draw, duration, echo, good, is_dumb, is_terminal, seconds

__all__ = ["Progress", "counter_of", "say_torch_loads"]

_FRAMES = "|/-\\"
_INTERVAL = 0.1
_CLEAR = "\r\x1b[K"
_EVERY = 10.0
"""Seconds between the lines that count where no line can move."""


class Progress:
    """Tells which step is under way. An instance is the ``report`` callable that operations take.

    Used as a context manager; each call names the step that starts now, and ends the previous one:

        with Progress() as report:
            report("reading the checkpoint")
            report("building the model")

    On a terminal the current step moves and shows its time; finished steps stay visible with theirs.
    Elsewhere each step is one plain line.

    Args:
        quiet: Print nothing.
        animate: Draw on the terminal; None = if stderr is one.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        animate: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet = quiet
        self._animate = (is_terminal(err=True) if animate is None else animate) and not is_dumb()
        self._step = self._counted = ""
        self._started = self._told = 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, step: str) -> None:
        if self._quiet:
            return
        with self._lock:
            self._finish_step()
            self._step, self._counted = printable(step), ""
            self._started = self._told = self._clock()
            if not self._animate:
                echo(step, err=True)

    def note(self, step: str) -> None:
        """Change the text of the current step, for counting (``3 of 12 images``); animated only."""
        with self._lock:
            if self._animate and not self._quiet:
                self._step = printable(step)

    def count(self, done: int, total: int) -> None:
        """Report how much of the current step is done, and about how long the rest takes.

        On a terminal this is part of the moving line, elsewhere a line every ten seconds.
        """
        with self._lock:
            now = self._clock()
            self._counted = f" {done}/{total}"
            if 0 < done < total:
                self._counted += f", {duration((now - self._started) / done * (total - done))} left"
            if not (self._animate or self._quiet) and now - self._told >= _EVERY and done < total:
                self._told = now
                echo(self._counted.lstrip(), err=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block that prints lines of its own, without breaking up the moving line."""
        with self._lock:
            if self._animate and self._step and not self._quiet:
                draw(before=_CLEAR)
            yield

    def tell(self, *lines: str) -> None:
        """Print lines on stderr above the moving line."""
        with self.paused():
            echo(*lines, err=True)

    def __enter__(self) -> Self:
        if self._animate and not self._quiet:
            self._thread = threading.Thread(target=self._spin, daemon=True, name="progress")
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            if kind is None:
                self._finish_step()
            elif self._animate and self._step:
                draw(after="\n")
            self._step = ""

    def _spin(self) -> None:
        turn = 0
        while not self._done.wait(_INTERVAL):
            with self._lock:
                if self._step:
                    draw(f"{_FRAMES[turn % 4]} {self._fitted()}", before="\r", after="\x1b[K")
            turn += 1

    def _finish_step(self) -> None:
        if self._animate and self._step and not self._quiet:
            took = dim(seconds(self._clock() - self._started))
            draw(f"{good('+')} {self._step} {took}", before=_CLEAR, after="\n")

    def _fitted(self) -> str:
        took = f" {self._clock() - self._started:.0f} s"
        room = shutil.get_terminal_size().columns - len(took) - 3
        return f"{self._step[: room - len(self._counted)]}{self._counted}{took}"


def say_torch_loads(report: Callable[[str], None] | None) -> None:
    """Announce the seconds that importing torch takes; whatever can be refused without torch was refused
    before.
    """
    if report is not None and "torch" not in sys.modules:
        report("Loading torch")


def counter_of(report: Callable[[str], None] | None) -> Callable[[int, int], None]:
    """The method ``count(done, total)`` of a report, or a function that ignores the counts if it has none."""
    count: Callable[[int, int], None] = getattr(report, "count", None) or (lambda _done, _total: None)
    return count
