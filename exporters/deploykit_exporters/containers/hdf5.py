"""Reading untrusted HDF5 files: what an object claims is checked before it is read.

The library allocates what a file claims: the shape of an attribute, the size of a chunk, the inflated size
of a chunk, the fill value of an empty data set. It also opens other files that a link names.
"""

from __future__ import annotations

import math
import mmap
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from deploykit_runtimes.machine.memory_limit import allocating

from deploykit_exporters.containers.budget import FREE_BYTES, ExcessError

__all__ = ["Hdf5Reader", "NotPlainDataError"]

_BYTES_PER_BYTE = 20
"""Bytes of arrays for each byte of the file: weights hardly compress, arrays of zeros do."""

_ROOM = 64 << 20
"""Memory that the library may take for itself while it reads an attribute."""

_HEAP = b"GCOL"  # marks a collection of the global heap, where texts of any length lie
_HEAP_SIZE, _HEAP_END = 8, 16  # where its size stands
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_CHECKSUM = 4


class NotPlainDataError(ValueError):
    """A data set or attribute that is not an array of numbers or text inside its own file."""


class Hdf5Reader:
    """An open file, and what is left of its memory budget.

    Args:
        path: The file.
        file: The same, opened by h5py.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.file = file
        self.path = path
        self._left = FREE_BYTES + _BYTES_PER_BYTE * path.stat().st_size

    @cached_property
    def _longest(self) -> int:
        return _longest_text(self.path)

    def group(self, name: str) -> h5py.Group | None:
        """A group directly below the root; None if there is none with that name."""
        if not isinstance(self.file.get(name, getlink=True), h5py.HardLink):
            return None
        group = self.file[name]
        return group if isinstance(group, h5py.Group) else None

    def attribute(self, holder: Any, name: str) -> Any:
        """An attribute, or None.

        Raises:
            ExcessError: it claims more than the file can hold.
            NotPlainDataError: it is neither numbers nor text.
        """
        if name not in holder.attrs:
            return None
        claimed = holder.attrs.get_id(name)
        text = h5py.check_string_dtype(claimed.dtype)
        if text is None and claimed.dtype.kind not in "fiubS":
            raise NotPlainDataError(f"its attribute {name!r} is neither numbers nor text")
        size = self._longest if text is not None and text.length is None else claimed.dtype.itemsize
        self._take(math.prod(claimed.shape or ()) * size, f"its attribute {name!r}")
        # Texts of any length say their length themselves, where nothing but the library reads it.
        with allocating(self._left + _ROOM):
            return holder.attrs[name]

    def array(self, dataset: h5py.Dataset) -> np.ndarray:
        """The content of a data set, in native byte order.

        Raises:
            ExcessError: it claims more than the file can hold.
            NotPlainDataError: it is not an array of numbers within this file.
        """
        if dataset.dtype.kind not in "fiub" or dataset.is_virtual or dataset.external:
            raise NotPlainDataError(f"{dataset.name} is not a plain array of numbers")
        self._take(dataset.nbytes, str(dataset.name))
        if dataset.chunks is not None:
            self._check_chunks(dataset)
        array = np.asarray(dataset[()])
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _take(self, nbytes: int, what: str) -> None:
        self._left -= nbytes
        if self._left < 0:
            raise ExcessError(f"{what} claims bytes that the file does not hold")

    def _check_chunks(self, dataset: h5py.Dataset) -> None:
        """Inflate every chunk no further than its size, because the library does not stop there."""
        size = math.prod(dataset.chunks) * dataset.dtype.itemsize
        self._take(max(size - dataset.nbytes, 0), str(dataset.name))
        settings = dataset.id.get_create_plist()
        filters = [settings.get_filter(index)[0] for index in range(settings.get_nfilters())]
        if not set(filters) <= _FILTERS:
            raise NotPlainDataError(f"{dataset.name} is compressed in a way that Keras does not use")
        if h5py.h5z.FILTER_DEFLATE not in filters:
            return
        chunks: list[tuple[int, ...]] = []
        dataset.id.chunk_iter(lambda chunk: chunks.append(chunk.chunk_offset))
        for offset in chunks:
            mask, content = dataset.id.read_direct_chunk(offset)
            if (
                not mask
                and len(zlib.decompressobj().decompress(content, size + _CHECKSUM + 1)) > size + _CHECKSUM
            ):
                raise ExcessError(f"{dataset.name} inflates to more than its shape")


def _longest_text(path: Path) -> int:
    """The size of the largest collection in the file's global heap; no text in it can be longer."""
    size = path.stat().st_size
    longest = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(_HEAP)
        while at >= 0:
            claimed = int.from_bytes(content[at + _HEAP_SIZE : at + _HEAP_END], "little")
            longest = max(longest, min(claimed, size))
            at = content.find(_HEAP, at + len(_HEAP))
    return longest
