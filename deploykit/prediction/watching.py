"""A folder that fills: finds the pictures in it that are complete, each once.

A picture is complete when no process has it open for writing, if the system can tell (Linux, local disks),
and its size and modification time have not changed for a moment. One that cannot be decoded then may be
a stalled copy: it gets some more seconds.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["FolderWatch", "quiet_leases"]

_SETTLED = 0.5
"""Seconds in which a complete picture does not change."""

_PATIENCE = 5.0
"""Seconds without a change after which a picture that cannot be decoded is a broken one."""

_Identity = tuple[int, int, int, int]
_State = Literal["new", "tried", "done"]


@dataclass
class _Seen:
    identity: _Identity
    since: float
    state: _State = "new"


class FolderWatch:
    """The pictures of a folder, each handed out when it is complete.

    A changed picture is a new one, a renamed picture is not. Hidden files and sub-folders are ignored:
    programs that copy write under such names first.

    Args:
        folder: The folder; it may disappear and come back.
        suffixes: Of pictures, in lower case.
        skip: Leave out what is there at the first look.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        folder: Path,
        suffixes: Collection[str],
        *,
        skip: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._suffixes = suffixes
        self._skip = skip
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self.missing = False

    def look(self) -> list[Path]:
        """The pictures completed since the last look, in natural order.

        ``missing`` tells whether the folder was gone.
        """
        from deploykit_runtimes.pixels.listing import natural_order

        now = self._clock()
        try:
            found = dict(self._entries())
        except OSError:
            self.missing = True
            return []
        self.missing = False
        self._take_over(found, now)
        ready = [
            self._folder / name
            for name, one in self._seen.items()
            if self._is_due(one, now) and not _is_being_written(self._folder / name)
        ]
        return sorted(ready, key=natural_order)

    def unchanged(self, path: Path) -> bool:
        """Whether a picture is unchanged since the last look."""
        one = self._seen.get(path.name)
        return one is not None and _identity(path) == one.identity

    def done(self, path: Path) -> None:
        """Note that a picture was answered, or given up."""
        self._seen[path.name].state = "done"

    def try_later(self, path: Path) -> bool:
        """Postpone a picture that cannot be decoded; False if it has been unchanged for long enough to be
        broken.
        """
        one = self._seen[path.name]
        if self._clock() - one.since >= _PATIENCE:
            return False
        one.state = "tried"
        return True

    def _entries(self) -> Iterator[tuple[str, _Identity]]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".")
                if not hidden and os.path.splitext(entry.name)[1].lower() in self._suffixes:  # noqa: PTH122
                    identity = _identity(self._folder / entry.name)
                    if identity is not None:
                        yield entry.name, identity

    def _take_over(self, found: dict[str, _Identity], now: float) -> None:
        done = {one.identity for one in self._seen.values() if one.state == "done"}
        if self._skip:
            done, self._skip = set(found.values()), False
        before, self._seen = self._seen, {}
        for name, identity in found.items():
            known = before.get(name)
            if known is not None and known.identity == identity:
                self._seen[name] = known
            else:
                self._seen[name] = _Seen(identity, now, "done" if identity in done else "new")

    @staticmethod
    def _is_due(one: _Seen, now: float) -> bool:
        waits = {"new": _SETTLED, "tried": _PATIENCE}
        return one.state != "done" and now - one.since >= waits[one.state]


@contextmanager
def quiet_leases() -> Iterator[None]:
    """Ignore the signal that announces a writer while a lease is tried: it would end the process."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, before)


def _identity(path: Path) -> _Identity | None:
    """A value that changes when a file is replaced or written; None: no file, or an empty one."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_being_written(path: Path) -> bool:
    """Whether a process has a file open for writing: Linux then grants no read lease (fcntl(2)).

    This cannot be told on file systems without leases, and for files of other users.
    """
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
