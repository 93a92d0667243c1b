"""The pictures of a folder, and the other files in it: nothing is skipped silently."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from deploykit_runtimes.pixels.listing import SUFFIXES

__all__ = ["other_files", "pictures_in"]

_PICTURES = SUFFIXES | {".mpo", ".jpe", ".heic", ".heif", ".dng", ".pfm", ".tga", ".jxl", ".jpx", ".psd"}
"""Also those that Pillow may lack a decoder for, and that other loaders count: they are named when read."""

_COMPANIONS = {".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".cache", ".npy", ".md", ".db", ".ini"}
"""Labels, caches and notes that are known to lie beside pictures."""
_SHOWN = 3


def pictures_in(folder: Path) -> list[Path]:
    """The pictures below a folder, by suffix, unsorted; links to folders are followed."""
    return [file for file in _files(folder) if file.suffix.lower() in _PICTURES]


def other_files(folders: Sequence[Path]) -> list[str]:
    """A sentence about files that are neither pictures nor usual companions of pictures, if there are any."""
    known = _PICTURES | _COMPANIONS
    found = [
        file
        for folder in folders
        for file in _files(folder)
        if file.suffix.lower() not in known and not file.name.startswith(".")
    ]
    if not found:
        return []
    shown = ", ".join(file.name for file in sorted(found)[:_SHOWN])
    more = ", ..." if len(found) > _SHOWN else ""
    return [f"{len(found)} files whose names are not those of pictures are left out: {shown}{more}"]


def _files(folder: Path) -> list[Path]:
    found, seen = [], set()
    for place, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above itself
            below.clear()
            continue
        seen.add(real)
        found += [path for name in names if (path := Path(place, name)).is_file()]
    return found
