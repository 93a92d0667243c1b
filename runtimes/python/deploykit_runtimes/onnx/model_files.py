"""The files of a model: its own, and those with weights or compiled parts that it names."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from deploykit_runtimes.build_options import ENGINE_SUFFIXES
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.files import copied, sha256_of
from deploykit_runtimes.onnx.file import OnnxFile, read_onnx

__all__ = [
    "check_files_beside",
    "copied_model",
    "copy_model",
    "files_of",
    "hash_model",
    "model_bytes",
    "named_beside",
    "read_if_model",
    "weights_beside",
]


def files_of(path: str | Path) -> tuple[Path, ...]:
    """The files that a model consists of: the .onnx file first, then those that it names beside itself.

    Raises:
        ModelError: one is missing or cannot be read, the first is not an ONNX model, or another one lies
            outside of its folder.
    """
    path = Path(path)
    file = read_onnx(path)
    for name in file.named:
        if not _is_beside(name):
            raise ModelError(
                f"{path} keeps a part of itself outside of its folder, in {name!r}.",
                hint="Save the model again, with its weights inside or beside it.",
            )
    check_files_beside(path, file)
    return (path, *named_beside(path, file))


def named_beside(path: Path, file: OnnxFile) -> tuple[Path, ...]:
    """The files that a model names, in its own folder or elsewhere, there or not."""
    return tuple(path.parent / name for name in file.named)


def check_files_beside(path: Path, file: OnnxFile) -> None:
    """See that the files are there that a model names: its weights, and what an engine compiled.

    Raises:
        ModelError: one is missing or cannot be read; says which, and what it is for.
    """
    for location in file.external:
        if problem := _problem(path, location):
            raise ModelError(
                f"{path} keeps its weights in {location}, and {problem}.",
                hint="Put that file beside the model under this name, or export the model again.",
            )
    for part in file.compiled:
        if part.location and (problem := _problem(path, part.location)):
            raise ModelError(
                f"{path} runs what {part.source or 'an engine'} compiled to {part.location}, and {problem}.",
                hint="Put that file beside the model under this name, or give the model that was compiled: "
                "every runtime opens that.",
            )


def weights_beside(file: OnnxFile) -> tuple[str, ...]:
    """Names of files with weights in a model's folder or below it."""
    return tuple(name for name in file.external if _is_beside(name))


def model_bytes(path: Path, file: OnnxFile | None = None) -> int:
    """Bytes of a model with the weights beside it, as far as they are there; of another file, its own.

    Args:
        file: What was read of it already.
    """
    file = file or read_if_model(path)
    files = (path, *(path.parent / name for name in (weights_beside(file) if file else ())))
    return sum(map(_size, files))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:  # a name that no file can have, which is told when the file is opened
        return 0


def read_if_model(path: Path) -> OnnxFile | None:
    """What an ONNX file declares; None for what is not one, or asks for more than ``limits`` allows."""
    try:
        return read_onnx(path)
    except ModelError:
        return None


def hash_model(path: str | Path) -> str:
    """SHA-256 of a model or engine, as 64 hex digits.

    It is that of the file, or, if the model has several, that of their hashes in hex, one a line.

    Raises:
        ModelError: see ``files_of``.
    """
    if Path(path).suffix in ENGINE_SUFFIXES:
        return sha256_of(path)
    hashes = [sha256_of(file) for file in files_of(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def copy_model(source: str | Path, target: str | Path) -> tuple[Path, ...]:
    """Copy a model, with its files, whole or not at all.

    Args:
        source: The .onnx file.
        target: What the copy of that file is called; those that it names keep their names, beside it.

    Raises:
        ModelError: see ``files_of``, or one of the files has the name of the target.
        OptionError: a file there belongs to another model, or cannot be written.
        OSError: the disk is full or fails; what was there is as it was.

    Returns:
        The files of the copy, the .onnx file first.
    """
    with copied_model(source, target) as files:
        return files


@contextlib.contextmanager
def copied_model(source: str | Path, target: str | Path) -> Iterator[tuple[Path, ...]]:
    """A copy of a model, whole inside the block; when that raises, what was there is as it was.

    Yields:
        The files of the copy; see ``copy_model`` for all else.
    """
    source, target = Path(source), Path(target)
    own, *others = files_of(source)
    sources = {target: own}
    for file in others:
        place = target.parent / file.relative_to(source.parent)
        if place == target:
            raise ModelError(
                f"{source} keeps a part of itself in {file.name}, the name that the copy would have.",
                hint="Give the copy another name.",
            )
        sources[place] = file
    places = tuple(sources)
    sources = {place: file for place, file in sources.items() if not _is_same(place, file)}
    _refuse_others_files(target, [place for place in places[1:] if place in sources], sources)
    with copied(sources):
        yield places


def _refuse_others_files(target: Path, places: list[Path], sources: dict[Path, Path]) -> None:
    """Two models may call their weights alike: the second one in a folder would get the first one wrong."""
    changed = [
        place for place in places if place.is_file() and not filecmp.cmp(place, sources[place], shallow=False)
    ]
    for other in sorted(target.parent.glob("*.onnx")) if changed else ():
        named = () if other == target else _named_by(other)
        for place in changed:
            if place in named:
                raise OptionError(
                    f"{place} belongs to {other.name}, and {sources[place]} is another file of that name.",
                    hint="Name another folder.",
                )


def _named_by(path: Path) -> tuple[Path, ...]:
    file = read_if_model(path)
    return () if file is None else named_beside(path, file)


def _is_same(place: Path, file: Path) -> bool:
    return place.exists() and place.samefile(file)


def _is_beside(name: str) -> bool:
    """Whether what a model calls so lies in its folder or below it."""
    place = PurePosixPath(name)
    return bool(name) and not (place.is_absolute() or Path(name).is_absolute() or ".." in place.parts)


def _problem(path: Path, location: str) -> str:
    """Why a file beside the model cannot be used, as half a sentence; empty when it can."""
    beside = path.parent / location
    try:
        if not beside.exists():
            return f"{beside} does not exist"
    except OSError as error:  # a name that no file can have
        return f"it cannot be looked for: {error.strerror}"
    if not beside.is_file():
        return f"{beside} is not a file"
    try:
        with beside.open("rb") as stream:
            return "" if stream.read(1) else f"{beside} is empty"
    except OSError as error:
        return f"{beside} cannot be read: {error.strerror}"
