"""What a caller may give as a picture, brought to the few forms that the reader takes."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import Image

from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.npy import is_npy, read_npy
from deploykit_runtimes.pixels.urls import is_url, shown_url

__all__ = [
    "ImageSource",
    "NamedBytes",
    "OneImage",
    "ReadySource",
    "Sources",
    "read_source",
    "rgb_of_bgr",
    "several",
]

# Invariant list types would refuse a list[str] here; Iterable would take a str too.
Sources: TypeAlias = list[Any] | tuple[Any, ...] | Iterator[Any]
OneImage: TypeAlias = bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray

ReadySource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""The path of a file, its bytes, a Pillow image, or an array."""

ImageSource: TypeAlias = ReadySource | os.PathLike[str] | bytearray | memoryview | IO[bytes]
"""These, and what leads to one of them. Text may also be an http(s) URL."""

_ONE = (np.ndarray, bytes, Image.Image, bytearray, memoryview)
_WANTED = "a path, URL, open file, bytes, Pillow image or numpy array"


class NamedBytes(bytes):
    """The bytes of a picture that has a name for messages.

    Attributes:
        name: Such as its URL, without what may be secret; empty where there is none.
    """

    name: str = ""

    @classmethod
    def of(cls, data: bytes, name: str) -> NamedBytes:
        """Bytes under a name."""
        named = cls(data)
        named.name = name
        return named


def read_source(source: object) -> ReadySource:
    """A source in the form of a path, bytes, a Pillow image or an array. No pixels are decoded.

    An open file is read from its start, where it can be moved there, as Pillow does it.

    Raises:
        InputError: it is not an ``ImageSource``, or there is nothing behind the URL or in the open file.
    """
    if isinstance(source, np.ndarray | Image.Image | Path | bytes):  # the usual ones, at once
        return source
    if is_url(source):
        from deploykit_runtimes.pixels.fetch import fetch

        return NamedBytes.of(fetch(source), shown_url(source))
    if isinstance(source, str):
        return source
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if isinstance(source, os.PathLike):
        path = os.fspath(source)
        return Path(path if isinstance(path, str) else os.fsdecode(path))
    read = getattr(source, "read", None)
    if callable(read):
        return _read_file(source, read)
    raise InputError(f"Wanted an image as {_WANTED}, found {type(source).__name__}.", hint=_advice(source))


def rgb_of_bgr(source: ReadySource) -> ReadySource:
    """An array with OpenCV's order of colours, or that of a .npy file, as RGB; other sources as they are."""
    array = (
        read_npy(source) if not isinstance(source, Image.Image | np.ndarray) and is_npy(source) else source
    )
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.shape[2] not in (3, 4):
        return source
    return np.ascontiguousarray(array[..., 2::-1])


def several(source: object) -> Sequence[Any] | None:
    """The images of a folder, of a pattern, of a list or of any other iterable; None for one image.

    Raises:
        InputError: a folder or pattern gives no image.
    """
    if isinstance(source, _ONE):
        return None
    if isinstance(source, str | os.PathLike):
        return None if is_url(source) else _several_files(Path(source))
    if not isinstance(source, Iterable) or hasattr(source, "read") or hasattr(source, "__array__"):
        return None
    return source if isinstance(source, Sequence) else list(source)


def _several_files(path: Path) -> Sequence[Path] | None:
    if path.is_file() or not (path.is_dir() or glob.has_magic(str(path))):
        return None
    from deploykit_runtimes.pixels.listing import list_images

    return list_images(path)


def _read_file(file: Any, read: Callable[[], object]) -> bytes:
    name = getattr(file, "name", "")
    name = name if isinstance(name, str) else ""  # a number, where it has none
    told = f"The file {name}" if name else f"The open {type(file).__name__}"
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        data = read()
    except (OSError, ValueError) as error:  # a closed file, or one that is not open for reading
        raise InputError(f"{told} cannot be read: {error}.") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        hint = "Open it with open(path, 'rb')." if isinstance(file, io.TextIOBase) else ""
        raise InputError(f"Wanted a file that gives bytes, {told} gives {type(data).__name__}.", hint=hint)
    if not data:
        raise InputError(f"{told} is empty, or has already been read to its end.")
    return NamedBytes.of(bytes(data), name)


def _advice(source: object) -> str:
    """How to get from a tensor to pixels."""
    if not (hasattr(source, "detach") and hasattr(source, "permute")):
        return ""
    return (
        "For a tensor [C, H, W] in 0..1: (255 * tensor).round().byte().permute(1, 2, 0).cpu().numpy(). "
        "For one that is already normalised, call model.runner.infer()."
    )
