"""Which shared libraries a shared library needs, and whether this process can load them.

Read from the dynamic section of the file, because every release of an engine links other versions of
CUDA, cuDNN and TensorRT, and a loader's own message names only the first one that is missing.
The format: https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html
"""

from __future__ import annotations

import ctypes
import struct
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import BinaryIO

__all__ = ["find_in_wheels", "loads", "missing_libraries", "needed_libraries", "package_file"]

_HEADER = struct.Struct("<16s2HI3QI6H")
_SEGMENT = struct.Struct("<2I6Q")
_ENTRY = struct.Struct("<qQ")
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ = 0, 1, 5, 10
_MAX_TABLE = 1 << 24
_MAX_FILE = 1 << 40
_WHEELS = ("nvidia/*/lib", "tensorrt_libs", "tensorrt_rtx_libs", "onnxruntime_ep_nv_tensorrt_rtx")
"""Folders in which NVIDIA's wheels keep their libraries, below site-packages."""


def needed_libraries(path: str | Path) -> tuple[str, ...]:
    """The ``DT_NEEDED`` names of a 64-bit little-endian ELF file; none of any other file."""
    try:
        with Path(path).open("rb") as file:
            return tuple(_needed(file))
    except (OSError, struct.error, UnicodeDecodeError):
        return ()


def missing_libraries(path: str | Path) -> tuple[str, ...]:
    """Those that the library needs directly and that are neither beside it, in a wheel, nor installed."""
    folder = Path(path).parent
    return tuple(
        name
        for name in needed_libraries(path)
        if not ((folder / name).is_file() or loads(name) or find_in_wheels(name))
    )


def loads(library: str) -> bool:
    """Whether the loader of this process finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def find_in_wheels(library: str) -> Path | None:
    """Where an installed NVIDIA wheel holds a library."""
    site = Path(sysconfig.get_path("platlib"))
    return next((path for folder in _WHEELS for path in site.glob(f"{folder}/{library}")), None)


def package_file(package: str, name: str) -> Path | None:
    """A file of an installed distribution, by its name without folders."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.name == name)
    return next((path for path in found if path.is_file()), None)


def _needed(file: BinaryIO) -> Iterator[str]:
    header = _HEADER.unpack(file.read(_HEADER.size))
    if header[0][:6] != b"\x7fELF\x02\x01":
        return
    offset, size, count = header[5], header[9], header[10]
    segments = [_SEGMENT.unpack(_read(file, offset + size * n, _SEGMENT.size)) for n in range(count)]
    dynamic = next((segment for segment in segments if segment[0] == _PT_DYNAMIC), None)
    if dynamic is None:
        return
    entries: list[tuple[int, int]] = []
    for tag, value in _ENTRY.iter_unpack(_read(file, dynamic[2], dynamic[5] // _ENTRY.size * _ENTRY.size)):
        if tag == _DT_NULL:
            break
        entries.append((tag, value))
    tags = dict(entries)
    names = _read(file, _file_offset(segments, tags.get(_DT_STRTAB, 0)), tags.get(_DT_STRSZ, 0))
    for tag, value in entries:
        if tag == _DT_NEEDED:
            yield names[value:].partition(b"\0")[0].decode()


def _file_offset(segments: list[tuple[int, ...]], address: int) -> int:
    """Where in the file lies what the loader maps to an address."""
    for kind, _, offset, start, _, size, _, _ in segments:
        if kind == _PT_LOAD and start <= address < start + size:
            return offset + address - start
    return address


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    if not (0 <= size <= _MAX_TABLE and 0 <= offset <= _MAX_FILE):
        raise struct.error("a table that large, or that far into the file, means damage")
    file.seek(offset)
    return file.read(size)
