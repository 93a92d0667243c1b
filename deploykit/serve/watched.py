"""Whether the files of a model have changed, determined without opening them."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from deploykit_runtimes.build_options import ENGINE_SUFFIXES
from deploykit_runtimes.builds.model_folder import file_for_runtime, model_file
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_files import named_beside

__all__ = ["Stamp", "files_beside", "stamp_of"]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Values that change when the files of a model are rewritten.

    Attributes:
        content: Type, modification time, size and inode of each file, or why these are unknown.
        access: Owner, permissions and change time of each file: when they change, a file that failed to
            load is tried again; a loaded one is not.
        found: A description of the model's own file, in words.
    """

    content: tuple[tuple[int, ...], ...]
    access: tuple[tuple[int, ...], ...]
    found: str = field(compare=False)


def stamp_of(path: Path, runtime: str, beside: Iterable[Path] = ()) -> Stamp:
    """The stamp of a model; it exists whatever is at the path.

    Args:
        path: A model file or a built folder.
        runtime: Canonical name of the runtime that opens it.
        beside: Other files that belong to it; see ``files_beside``.
    """
    own = _own_files(path, runtime)
    content, access, words = zip(*map(_status, [*own, *beside]), strict=True)
    return Stamp(content=content, access=access, found=words[0])


def files_beside(path: Path, runtime: str) -> tuple[Path, ...]:
    """The files that a model needs besides its own: weights, compiled engines, and their descriptions."""
    found: list[Path] = []
    for own in _own_files(path, runtime):
        if own.suffix in ENGINE_SUFFIXES:
            found.append(own.with_name(f"{own.name}.json"))
        found += _named_by(own)
    return tuple(dict.fromkeys(found))


def _named_by(path: Path) -> list[Path]:
    try:
        file = read_onnx(path) if path.is_file() and path.suffix not in ENGINE_SUFFIXES else None
    except Exception:  # noqa: BLE001 - what cannot be read names nothing, and opening it says why
        return []
    return [] if file is None else [*named_beside(path, file)]


def _own_files(path: Path, runtime: str) -> list[Path]:
    try:
        return list(dict.fromkeys((model_file(path), file_for_runtime(path, runtime))))
    except (OSError, DeploykitError):
        return [path]


def _status(path: Path) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    try:
        status = path.stat()
    except OSError as error:
        return (-1, error.errno or 0), (), "nothing" if error.errno == 2 else f"{error.strerror}"
    kind = stat.S_IFMT(status.st_mode)
    content = (kind, status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
    access = (status.st_ctime_ns, status.st_mode, status.st_uid, status.st_gid)
    return content, access, _KINDS.get(kind, f"a file of {status.st_size} bytes")
