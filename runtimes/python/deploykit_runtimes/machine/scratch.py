"""Folders for unfinished work, which the next run removes where this one is killed.

A folder belongs to the process that holds the lock on the file inside it. The kernel lets go of a lock when
its process ends, however it ends, so that a folder whose lock is free is nobody's any more: no number of a
process has to be trusted, and two containers that share a disk do not clear each other's work away.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["LOCK", "discard_scratch", "discarded_when_empty", "in_scratch", "scratch_folder", "sweep"]

LOCK = ".deploykit-lock"
"""The file that marks a folder as one of ours; without it a folder belongs to others, and stays."""

_NAME = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)
_LONGEST = 80
_NOT_OPEN = -1
_live: dict[Path, int] = {}
_made: list[Path] = []
_swept: set[str] = set()


@contextlib.contextmanager
def scratch_folder(parent: str | Path | None = None, name: str = "deploykit") -> Iterator[Path]:
    """An empty folder that is gone when the block ends, or when a later run finds it without its process.

    Args:
        parent: Where it lies; None: in the system's folder for temporary files. The first one of a process
            there clears away what killed runs left.
        name: What its name tells.

    Raises:
        OSError: it cannot be created.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else Path(parent)
    place = os.path.realpath(parent)
    if place not in _swept:
        _swept.add(place)
        sweep(parent)
    folder = _create(parent, os.fsencode(name)[:_LONGEST].decode(errors="ignore"))
    try:
        yield folder
    finally:
        _remove(folder)
        if (lock := _live.pop(folder, None)) is not None:
            os.close(lock)


def in_scratch(path: object) -> bool:
    """Whether a path, as an error names it, is that of a folder for unfinished work or lies in one."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return any(_NAME.fullmatch(part) for part in Path(text).parts)


def discard_scratch() -> None:
    """Remove the folders of this process that are left, before it ends without its blocks' ends."""
    for folder in [*_live]:
        _remove(folder)
    for folder in [*_made]:
        with contextlib.suppress(OSError):  # it holds something, or was not made yet
            folder.rmdir()


@contextlib.contextmanager
def discarded_when_empty(folders: Sequence[Path]) -> Iterator[None]:
    """While the block lasts, ``discard_scratch`` removes these folders too, where they are empty.

    Args:
        folders: New ones, the innermost first.
    """
    _made.extend(folders)
    try:
        yield
    finally:
        for folder in folders:
            _made.remove(folder)


def sweep(parent: Path) -> None:
    """Remove the folders in ``parent`` whose processes have ended. What is not ours is not touched."""
    with contextlib.suppress(OSError):
        found = [entry.path for entry in os.scandir(parent) if _NAME.fullmatch(entry.name)]
        for path in found:
            _sweep_one(Path(path))


def _create(parent: Path, name: str) -> Path:
    while True:
        folder = parent / f".{name}.{secrets.token_hex(4)}.part"
        _live[folder] = _NOT_OPEN  # before it is there: a signal may come between any two of these lines
        made = False
        try:
            folder.mkdir(mode=0o700)
            made = True
            _live[folder] = lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            del _live[folder]
            with contextlib.suppress(OSError):  # it was not made
                folder.rmdir()
            if isinstance(error, FileNotFoundError) and made and parent.is_dir():
                continue  # another run took the empty folder for a killed one's
            raise
        if _locked(lock) is not False and _is_there(folder, lock):
            return folder
        os.close(_live.pop(folder))


def _sweep_one(folder: Path) -> None:
    """Remove a folder if it is ours and its process has ended."""
    with contextlib.suppress(OSError):  # it goes while it is looked at, or may not be touched
        status = folder.lstat()
        if not folder.is_dir() or folder.is_symlink() or status.st_uid != os.geteuid():
            return
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            folder.rmdir()  # of a run that was killed between two calls; those of others are not empty
            return
        try:
            if _locked(lock) and _is_there(folder, lock):
                _remove(folder)
        finally:
            os.close(lock)


def _locked(lock: int) -> bool | None:
    """Take the lock without waiting; None: this file system has none."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_there(folder: Path, lock: int) -> bool:
    """Whether the open lock is still the file of that name."""
    try:
        return os.path.samestat((folder / LOCK).lstat(), os.fstat(lock))
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> None:
    """Remove a folder, the lock last: what a kill leaves of it is still known as ours."""
    with contextlib.suppress(OSError):
        for entry in [*os.scandir(folder)]:
            if entry.name == LOCK:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()
