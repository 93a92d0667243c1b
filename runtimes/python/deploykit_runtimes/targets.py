"""What a name to write to stands for: a file, also behind links, or a device or pipe."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploykit_runtimes.errors import DeploykitError, OptionError
from deploykit_runtimes.machine.exhausted import exhausted

__all__ = [
    "Target",
    "check_alone",
    "check_folder",
    "check_target",
    "is_standard_output",
    "is_stream",
    "read_target",
]

_LINKS = 40
_DESCRIPTORS = re.compile(r"/proc/(\d+)(/task/\d+)?/fd|/dev/fd")
_KINDS = {
    stat.S_IFDIR: ("a folder, wanted the name of a file", "Name a file inside it."),
    stat.S_IFSOCK: ("a socket, wanted the name of a file", "Name a file, or a named pipe."),
    stat.S_IFBLK: ("a disk, which is not overwritten", "Name a file."),
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where bytes go.

    Attributes:
        given: The name that was asked for.
        path: The file that is replaced or created, or the device or pipe, behind all links.
        stream: It is a device or pipe, which is written and not replaced.
        descriptor: The number of what this process has open under that name, as ``/dev/stdout`` is.
    """

    given: Path
    path: Path
    stream: bool = False
    descriptor: int | None = None

    def pour(self, source: Path) -> None:
        """Write a file's bytes into a device or pipe.

        Raises:
            DeploykitError: its reader closed it.
            OptionError: it cannot be opened for writing.
            OSError: it takes no more.
        """
        try:
            with source.open("rb") as file, os.fdopen(self._open(os.O_WRONLY), "wb") as stream:
                shutil.copyfileobj(file, stream, 1 << 20)
        except BrokenPipeError as error:
            raise DeploykitError(f"{self.given} took only a part: its reader closed it.") from error

    def give_up(self) -> None:
        """Let the reader of a pipe find its end, if one waits already."""
        with contextlib.suppress(OSError):
            if self.path.is_fifo() and self.descriptor is None:
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))

    def _open(self, flags: int) -> int:
        try:
            if self.descriptor is None:
                return os.open(self.path, flags)
            stream = {1: sys.stdout, 2: sys.stderr}.get(self.descriptor)
            if stream is not None and not stream.closed:
                stream.flush()
            return os.dup(self.descriptor)
        except OSError as error:
            if exhausted(error):
                raise
            raise OptionError(f"{self.given} cannot be written: {error.strerror}.") from error


def read_target(given: str | Path) -> Target:
    """Follow a name to what is to be written, and refuse what cannot be.

    Links are followed, so that the file behind them is replaced and they stay. A device or pipe is a
    stream. A name below ``/dev/fd`` is what this process has open: the end of it is written.

    Raises:
        OptionError: it is a folder, a socket or a disk, its links lead nowhere, or it may not be written.
    """
    given = Path(given)
    path = given
    try:
        path, number = _follow(given)
        if number is not None:
            return Target(given=given, path=path, stream=True, descriptor=number if number >= 0 else None)
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Target(given=given, path=path)
    except OSError as error:
        raise OptionError(f"{given} cannot be written: {error.strerror}.") from error
    name = str(given) if path == given else f"{given}, which leads to {path},"
    if (kind := stat.S_IFMT(status.st_mode)) in _KINDS:
        found, hint = _KINDS[kind]
        raise OptionError(f"{name} is {found}.", hint=hint)
    if not os.access(path, os.W_OK):
        raise OptionError(f"{name} is not writable.", hint="Name another file, or make this one writable.")
    return Target(given=given, path=path, stream=not stat.S_ISREG(status.st_mode))


def check_target(given: str | Path, *, reads: Iterable[Path] = ()) -> None:
    """Refuse a target that cannot be written, before the work whose outcome it would hold.

    Args:
        given: The target.
        reads: Files that the work is done from, which must outlive it.

    Raises:
        OptionError: see ``read_target``; or its parent is not a folder, cannot be created or is
            not writable; or it is one of the files that are read, perhaps by a link.
    """
    target = read_target(given)
    if target.stream:
        return
    check_folder(target.path)
    place = os.path.realpath(target.path)
    if any(os.path.realpath(source) == place for source in reads):
        name = str(given) if target.path == target.given else f"{given}, which leads to {target.path},"
        raise OptionError(f"{name} is an input here, and would be replaced.", hint="Name another file.")


def check_folder(path: Path) -> None:
    """Refuse a path that cannot come to be for the folder that it would lie in.

    Raises:
        OptionError: it is not a folder, cannot be created or is not writable.
    """
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    if not folder.is_dir():
        raise OptionError(f"{path} cannot be written: {folder} is a file, not a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OptionError(
            f"{path} cannot be written: the folder {folder} is not writable.", hint="Choose another one."
        )


def check_alone(given: str | Path, *, needs: str) -> None:
    """Refuse a target beside which nothing can lie that is found again.

    Args:
        given: The target.
        needs: What is to lie beside it, and why, as a sentence.

    Raises:
        OptionError: it is a device or pipe, or a link into another folder.
    """
    target = read_target(given)
    if target.stream:
        raise OptionError(f"{given} is a device or pipe. {needs}", hint="Name a file.")
    if os.path.realpath(target.path.parent) != os.path.realpath(target.given.parent):
        raise OptionError(
            f"{given} is a link into another folder, to {target.path}. {needs}", hint="Name the file itself."
        )


def is_stream(given: str | Path) -> bool:
    """Whether a name is that of a device or pipe, which has neither a size nor a second reading.

    Raises:
        OptionError: it cannot be written to.
    """
    return read_target(given).stream


def is_standard_output(given: str | Path) -> bool:
    """Whether a name stands for what the process prints to.

    Raises:
        OptionError: it cannot be written to.
    """
    return read_target(given).descriptor == 1


def _follow(path: Path) -> tuple[Path, int | None]:
    """What a name leads to, and the number of it where it is something open; a loop of links ends at one."""
    for _ in range(_LINKS):
        number = _descriptor(path)
        if number is not None or not path.is_symlink():
            return path, number
        path = path.parent / path.readlink()
    return path, None


def _descriptor(path: Path) -> int | None:
    """The number of what a process has open under a name; -1: it is another process that has."""
    if not path.name.isdecimal():
        return None
    found = _DESCRIPTORS.fullmatch(os.path.realpath(path.parent))
    if found is None or not os.path.lexists(path):
        return None
    return int(path.name) if found[1] in (None, str(os.getpid())) else -1
