"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from deploykit_runtimes.errors import OptionError

__all__ = ["atomic_path", "check_target", "sha256_of"]

_CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextlib.contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that becomes ``target`` when the block succeeds.

    The temporary name keeps the suffix of ``target`` (writers such as Pillow choose the format by
    it) and lies in the same folder, so that the final rename cannot cross file systems. Missing folders
    are created. When the block raises, Ctrl-C included, the temporary file and the new folders are
    removed and ``target`` is as it was.

    Raises:
        OptionError: ``target`` is a folder, or cannot be created or written.
        OSError: the disk is full or fails; it names ``target``.
    """
    target = Path(target)
    check_target(target)
    temporary = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(4)}.part{target.suffix}")
    with _folder(target.parent):
        try:
            yield temporary
            temporary.replace(target)
        except OSError as error:
            if error.errno in _FULL and error.filename in (None, str(temporary)):
                raise OSError(error.errno, error.strerror, str(target)) from error
            if error.filename == str(temporary):
                raise OptionError(f"{target} cannot be written: {error.strerror}.") from error
            raise
        finally:
            temporary.unlink(missing_ok=True)


def check_target(target: str | Path) -> None:
    """Refuse a target that cannot be written, before the work whose outcome it would hold.

    Raises:
        OptionError: it is a folder, or the folder that it lies in is none, cannot be created or is
            not writable.
    """
    target = Path(target)
    if target.is_dir():
        raise OptionError(f"{target} is a folder, wanted the name of a file.", hint="Name a file inside it.")
    folder = next((parent for parent in target.absolute().parents if parent.exists()), Path("/"))
    if not folder.is_dir():
        raise OptionError(f"{target} cannot be written: {folder} is a file, not a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OptionError(
            f"{target} cannot be written: the folder {folder} is not writable.", hint="Choose another one."
        )


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """The folder exists inside the block; what had to be created for it goes again if the block raises."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"The folder {folder} cannot be created: {error.strerror}.") from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody else may have put a file there meanwhile
            for parent in missing:
                parent.rmdir()
        raise


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits, in bounded memory."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
