"""The picture that a result is of, kept so that the result can be drawn without giving it again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import numpy as np

from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.sources import NamedBytes, ReadySource

__all__ = ["Picture"]

_GIVE_IT = "Give the picture to draw into: result.plot(image)."
_SAMPLES = 10


class Picture:
    """What was given to ``predict``: a path is kept as a path, anything else as the object that it is.

    An array is not copied, and a file not read: ``source`` refuses one that has changed since, as the buffer
    of a camera does. Only paths survive pickling.

    Args:
        source: What the picture was decoded from.
    """

    __slots__ = ("_mark", "_source", "name")

    def __init__(self, source: ReadySource) -> None:
        self._source: ReadySource | None = source
        self.name = ""
        self._mark: object = None
        if isinstance(source, np.ndarray):
            self._mark = _sample(source)
        elif isinstance(source, str | Path):
            self.name = str(source)
            self._source = Path(os.path.abspath(source))  # noqa: PTH100 - resolve() would follow links
            self._mark = _state(self._source)
        elif isinstance(source, NamedBytes):
            self.name = source.name

    @property
    def path(self) -> Path | None:
        """The file, absolute, where it came from one."""
        return self._source if isinstance(self._source, Path) else None

    def source(self) -> ReadySource:
        """The picture as it was given.

        Raises:
            InputError: it changed since, is gone, or was not kept.
        """
        source = self._source
        if source is None:
            raise InputError("The picture did not come along with the result.", hint=_GIVE_IT)
        if isinstance(source, np.ndarray) and _sample(source) != self._mark:
            raise InputError("The array has changed since it was predicted on.", hint=_GIVE_IT)
        if isinstance(source, Path) and self._mark is not None and _state(source) != self._mark:
            gone = "has changed since it was predicted on" if source.exists() else "no longer exists"
            raise InputError(f"Image {self.name} {gone}.", hint=_GIVE_IT)
        return source

    def __repr__(self) -> str:
        return f"Picture({self.name or type(self._source).__name__})"

    def __reduce__(self) -> tuple[object, ...]:
        kept = self._source if isinstance(self._source, Path) else None
        return _unpickled, (kept, self.name, self._mark if kept else None)

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _unpickled(source: Path | None, name: str, mark: object) -> Picture:
    picture = Picture.__new__(Picture)
    picture._source, picture.name, picture._mark = source, name, mark
    return picture


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _sample(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    """About a hundred pixels, spread over the picture: two frames of a camera never have the same noise."""
    if array.ndim < 2:  # no picture, which its reader tells
        return array.shape, b""
    height, width = array.shape[:2]
    return array.shape, array[:: max(1, height // _SAMPLES), :: max(1, width // _SAMPLES)].tobytes()
