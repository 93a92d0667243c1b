"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.machine.exhausted import exhausted, stated_size
from deploykit_runtimes.machine.scratch import LOCK, discarded_when_empty, in_scratch, scratch_folder
from deploykit_runtimes.targets import Target, check_folder, read_target

__all__ = [
    "atomic_folder",
    "atomic_path",
    "copied",
    "copy_file",
    "gathered",
    "room_for",
    "sha256_of",
    "utf8_name",
    "write_target",
]

_CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_SWAP = 2  # RENAME_EXCHANGE of linux/fs.h
_HERE = -100  # AT_FDCWD


@contextlib.contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """A temporary path that becomes ``target`` when the block succeeds.

    The temporary file has the name of ``target`` and lies in a folder of its own beside it, so that the
    final rename cannot cross file systems; what the block leaves in that folder comes along, before it.
    Missing folders are created. A file that is replaced leaves its mode and owner to the new one. When the
    block raises, Ctrl-C included, the temporary file and the new folders are removed and ``target`` is as
    it was; what a killed process leaves, the next one that writes there removes.

    A link stays, and the file behind it is replaced. A device or pipe is written, when the block is done.

    Raises:
        OptionError: ``target`` is a folder, a socket or a disk, or cannot be created or written.
        DeploykitError: the reader of a pipe closed it.
        OSError: the disk is full or fails; it names ``target``.
    """
    place = read_target(target)
    if place.stream:
        with _streamed(place) as draft:
            yield draft
        return
    check_folder(place.path)
    parent = place.path.parent
    with _folder(parent), _told(place.given, parent), scratch_folder(parent, place.given.name) as folder:
        draft = folder / place.given.name
        yield draft
        _keep_mode(draft, place.path)
        for other in folder.iterdir():
            if other.name not in (LOCK, draft.name):
                other.replace(parent / other.name)
        draft.replace(place.path)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``target``, in the place of an older one, when the block succeeds.

    The exchange is one step where the file system has it (Linux: renameat2), so that whoever is killed leaves
    the old folder or the new one.

    Raises:
        OptionError: it cannot be created or written.
        OSError: the disk is full or fails; it names ``target``.
    """
    check_folder(target)
    parent = target.parent
    with _folder(parent), _told(target, parent), scratch_folder(parent, target.name) as folder:
        draft = folder / target.name
        draft.mkdir()
        yield draft
        _replace_folder(draft, target)


@contextlib.contextmanager
def gathered(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files move to ``folder``, over older ones, when the block succeeds.

    Raises:
        OptionError: ``folder``, or a file in it, cannot be created or written.
        OSError: the disk is full or fails.
    """
    with _folder(folder), _told(folder, folder), scratch_folder(folder, folder.name) as draft:
        yield draft
        for file in sorted(draft.iterdir()):
            if file.name != LOCK:
                with atomic_path(folder / file.name) as place:
                    shutil.move(file, place)


def write_target(target: str | Path, data: str | bytes | memoryview) -> None:
    """Write bytes, or text as UTF-8, whole or not at all; see ``atomic_path``."""
    data = data.encode() if isinstance(data, str) else data
    with atomic_path(target) as draft, room_for(memoryview(data).nbytes):
        draft.write_bytes(data)


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file's bytes. A full disk is reported for the target, with the space that was wanted.

    Raises:
        OSError: the source cannot be read or the target not be written.
    """
    with room_for(Path(source).stat().st_size):
        shutil.copyfile(source, target)


@contextlib.contextmanager
def copied(sources: Mapping[Path, Path]) -> Iterator[None]:
    """Copies of files, all of them whole inside the block; when that raises, the targets are as they were.

    Args:
        sources: What is copied, by its target. The targets appear when every copy is complete, the last one
            first: a file that names the others goes first in the mapping.

    Raises:
        OptionError, OSError: see ``atomic_path`` and ``copy_file``.
    """
    with contextlib.ExitStack() as kept:
        for target in sources:
            kept.enter_context(_folder(target.parent))
            kept.enter_context(_kept(target))
        with contextlib.ExitStack() as written:
            for target, source in sources.items():
                copy_file(source, written.enter_context(atomic_path(target)))
        yield


@contextlib.contextmanager
def _kept(target: Path) -> Iterator[None]:
    """When the block raises, a file is again what it was before, or not there."""
    place = read_target(target).path
    with contextlib.ExitStack() as stack:
        old = None
        if place.is_file():
            with _told(place, place.parent):
                old = stack.enter_context(scratch_folder(place.parent, place.name)) / place.name
                _link(place, old)
        try:
            yield
        except BaseException:
            if old is not None:
                old.replace(place)
            elif place.is_file():
                place.unlink()
            raise


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; where that is not allowed, make a copy."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Tell, with the error of a disk that is full, how much was wanted.

    Raises:
        OSError: the disk is full; it names no file, for ``atomic_path`` to name the target.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, f"{error.strerror}, {stated_size(size)} wanted") from error
        raise


@contextlib.contextmanager
def _streamed(place: Target) -> Iterator[Path]:
    temporary = Path(tempfile.gettempdir())
    with _told(temporary, temporary), scratch_folder() as folder:
        draft = folder / (place.given.name or "stream")
        try:
            yield draft
        except BaseException:
            place.give_up()
            raise
        try:
            place.pour(draft)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(place.given)) from error


@contextlib.contextmanager
def _told(target: Path, folder: Path) -> Iterator[None]:
    """Errors of unfinished files name what they were to become."""
    try:
        yield
    except OSError as error:
        names = [name for name in (error.filename, error.filename2) if name is not None]
        ours = not names or any(in_scratch(name) for name in names)
        if error.errno in _FULL and ours:
            said = error.strerror or ""
            free = (
                "" if said.endswith(" free") else _free(folder)
            )  # said already for a file inside the target
            raise OSError(error.errno, said + free, str(target)) from error
        if names and ours and not exhausted(error):
            raise OptionError(f"{target} cannot be written: {error.strerror}.") from error
        raise


def _free(folder: Path) -> str:
    try:
        return f", {stated_size(shutil.disk_usage(folder).free)} free"
    except OSError:
        return ""


def _keep_mode(draft: Path, target: Path) -> None:
    """Give a file the mode of the one that it replaces, and its owner where that is allowed."""
    try:
        old = target.stat()
    except FileNotFoundError:
        return
    new = draft.stat()
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(OSError):  # only root may give files away
            os.chown(draft, old.st_uid, old.st_gid)
    draft.chmod(stat.S_IMODE(old.st_mode) & 0o777)


def _replace_folder(draft: Path, target: Path) -> None:
    if not os.path.lexists(target):
        draft.rename(target)
    elif not _exchange(draft, target):
        aside = draft.parent.with_suffix(".old")
        target.rename(aside)
        try:
            draft.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system or file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _SWAP) == 0


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """The folder exists inside the block; what had to be created for it goes again if the block raises."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        with discarded_when_empty(missing):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                if exhausted(error) or error.errno in _FULL:  # no other folder would do
                    raise
                raise OptionError(f"The folder {folder} cannot be created: {error.strerror}.") from error
            yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody else may have put a file there meanwhile
            for parent in missing:
                parent.rmdir()
        raise


@contextlib.contextmanager
def utf8_name(path: Path) -> Iterator[str]:
    """A name of an existing file for libraries in C++, which want UTF-8: the file's own, where it is that.

    A name in another encoding (Latin-1 of an old archive) is known to Python alone; the file then goes by the
    number that this process has it open under, as long as the block lasts.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        yield str(path)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits, in bounded memory."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
