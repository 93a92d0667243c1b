"""Folders of compiled engines: whether anybody else could have put something there, and one user at a time.

An engine is code. Whoever can write to the folder it is loaded from can have their own code run, so a cache
is used only where its owner and its permissions say that nobody else could, as OpenSSH does with keys. The
same rules stand in ``runtimes/cpp/src/machine/trusted_folder.cpp``.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from deploykit_runtimes.errors import OptionError

__all__ = ["TRUST", "check_trusted_file", "locked", "trusted_folder"]

TRUST = "DEPLOYKIT_TRUST_CACHE"
"""Environment variable; ``1``: folders are used whoever owns them."""

_MAX_LINKS = 40  # as Linux


def trusted_folder(folder: str | Path, *, contents: bool = True) -> Path:
    """A folder to load compiled engines from and write them to; made where it is missing, for its user alone.

    Refused are a folder, and a file or folder in it, that belong to another user than this one and root, or
    that others may write to; and a way there that another user could turn elsewhere: a symbolic link of
    theirs, a parent that they own, or one that everybody may write to without the sticky bit.

    Args:
        folder: Its path.
        contents: Look also at what lies in it.

    Returns:
        The folder, behind symbolic links if there are any.

    Raises:
        OptionError: it cannot be created, is not a folder, or is not trusted; says why and what to do.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OptionError(f"The cache {folder} cannot be written: {error.strerror}.") from error
    if not hasattr(os, "geteuid") or os.environ.get(TRUST) == "1":
        return folder
    try:
        found = _walk(folder)
        _check_own(folder, found, found.lstat())
        if contents:
            _check_inside(folder, found)
    except OSError as error:
        raise OptionError(f"The cache {folder} cannot be read: {error.strerror}.") from error
    return folder if found == folder.absolute() else found


def check_trusted_file(path: Path) -> None:
    """Refuse an engine that nobody named, but that lies where one is looked for, if it belongs to others.

    Raises:
        OptionError: its owner or permissions, as in ``trusted_folder``.
    """
    if not hasattr(os, "geteuid") or os.environ.get(TRUST) == "1":
        return
    try:
        _check_content(path, path, path.stat())
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """No other process that uses a folder so is in such a block at the same time.

    Engines write into their caches file by file, and would read what another one has written by half. On file
    systems without locks for folders (NFS) nothing is locked.

    Args:
        folder: It exists; None: there is nothing to lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        folder = None
    if folder is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _walk(folder: Path) -> Path:
    """Where a path leads, each step of it checked."""
    parts = list(reversed(folder.absolute().parts[1:]))
    here, links = Path("/"), 0
    while parts:
        _check_parent(folder, here, here.lstat())
        part = parts.pop()
        if part == "..":
            here = here.parent
            continue
        step = here / part
        status = step.lstat()
        if not stat.S_ISLNK(status.st_mode):
            here = step
            continue
        if _is_another_user(status.st_uid):
            raise _refusal(folder, f"{step} is a symbolic link of {_user(status.st_uid)}", step)
        links += 1
        if links > _MAX_LINKS:
            raise _refusal(folder, "its symbolic links form a loop", step)
        target = step.readlink()
        if target.is_absolute():
            here = Path("/")
        parts += reversed([name for name in target.parts if name != "/"])
    return here


def _check_parent(folder: Path, path: Path, status: os.stat_result) -> None:
    if _is_another_user(status.st_uid):
        raise _refusal(folder, f"{path} above it belongs to {_user(status.st_uid)}", path)
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise _refusal(folder, f"everybody may write to {path} above it", path)


def _check_own(folder: Path, path: Path, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise OptionError(f"The cache {folder} is not a folder.")
    if _is_another_user(status.st_uid):
        raise _refusal(folder, f"it belongs to {_user(status.st_uid)}", path)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refusal(folder, f"others may write to it (mode {stat.S_IMODE(status.st_mode):03o})", path)


def _check_inside(folder: Path, path: Path) -> None:
    """What lies in a folder and below: it may have come when others could still write there."""
    for place, folders, files in os.walk(path):
        for name in (*folders, *files):
            # What goes on beside this renames and removes its drafts.
            with contextlib.suppress(FileNotFoundError):
                _check_content(folder, Path(place, name), Path(place, name).lstat())


def _check_content(folder: Path, path: Path, status: os.stat_result) -> None:
    mode, inside = status.st_mode, "" if folder == path else f"{path} in it "
    if stat.S_ISLNK(mode):
        raise _refusal(folder, f"{path} in it is a symbolic link", path)
    if _is_another_user(status.st_uid):
        raise _refusal(folder, f"{inside or 'it '}belongs to {_user(status.st_uid)}", path)
    # With a umask of 002 files are written so that the user's own group may write to them.
    of_group = mode & stat.S_IWGRP and status.st_gid != os.getegid()
    if of_group or mode & stat.S_IWOTH:
        raise _refusal(folder, f"others may write to {path}", path)


def _is_another_user(user: int) -> bool:
    return user not in (0, os.geteuid())


def _user(number: int) -> str:
    return f"the user {number}"


def _refusal(folder: Path, why: str, place: Path) -> OptionError:
    return OptionError(
        f"The cache {folder} is not trusted: {why}, and compiled engines are code.",
        hint=f"Look at it with `ls -ld {place}`: make it yours alone (chown, chmod go-w), remove it, or name "
        f"another folder. {TRUST}=1 uses it as it is.",
    )
