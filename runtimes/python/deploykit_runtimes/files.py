"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from deploykit_runtimes.errors import OptionError

__all__ = ["atomic_path", "sha256_of"]

_CHUNK = 1 << 20


@contextlib.contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that becomes ``target`` when the block succeeds.

    The temporary name keeps the suffix of ``target`` (writers such as Pillow choose the format by
    it) and lies in the same folder, so that the final rename cannot cross file systems. When the
    block raises, Ctrl-C included, the temporary file is removed and ``target`` is as it was.
    Missing folders are created.

    Raises:
        OptionError: ``target`` is a folder, or its folder cannot be created or written.
    """
    target = Path(target)
    if target.is_dir():
        raise OptionError(f"{target} is a folder, wanted the name of a file.", hint="Name a file inside it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"The folder {target.parent} cannot be created: {error.strerror}.") from error
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OptionError(f"The folder {target.parent} is not writable.", hint="Choose another one.")
    temporary = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits, in bounded memory."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
