"""Arrays of pixels in .npy files."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from deploykit_runtimes.errors import InputError

__all__ = ["is_npy", "npy_shape", "read_npy"]

_MAGIC = b"\x93NUMPY"


def is_npy(source: object) -> bool:
    """Whether a path or the bytes of a file are a .npy file: by its suffix, or its first bytes."""
    if isinstance(source, bytes):
        return source.startswith(_MAGIC)
    return isinstance(source, str | Path) and Path(source).suffix.lower() == ".npy"


def npy_shape(data: bytes) -> tuple[int, ...]:
    """The shape that the header of a .npy file declares; nothing else is read.

    Raises:
        InputError: it is damaged.
    """
    return _read_header(io.BytesIO(data), f"The {len(data)} bytes given", len(data))[0]


def read_npy(source: str | Path | bytes) -> np.ndarray:
    """The array of a .npy file. Objects are not read, so no code of it runs.

    Raises:
        InputError: it does not exist, is damaged or holds something else than uint8.
    """
    name = f"The {len(source)} bytes given" if isinstance(source, bytes) else f"Image {source}"
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), name, len(source))
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{name} does not exist.")
    with path.open("rb") as file:
        return _read(file, name, path.stat().st_size)


def _read(file: BinaryIO, name: str, size: int) -> np.ndarray:
    _, dtype = _read_header(file, name, size)
    if dtype != np.uint8:
        raise InputError(
            f"{name} holds {dtype} values; wanted uint8 pixels in 0..255.",
            hint="Scale them to 0..255 first, as the training did: for floats in 0..1, "
            "(255 * array).round().astype(np.uint8).",
        )
    file.seek(0)
    array: np.ndarray = np.load(file, allow_pickle=False)
    return array


def _read_header(file: BinaryIO, name: str, size: int) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    except Exception as error:  # numpy parses the header as Python, and lets through what that raises
        raise InputError(f"{name} cannot be read as a .npy file.", hint=f"numpy says: {error}.") from error
    if math.prod(shape) * dtype.itemsize > size - file.tell():
        raise InputError(f"{name} is damaged or truncated: its header declares an array {list(shape)}.")
    return shape, dtype
