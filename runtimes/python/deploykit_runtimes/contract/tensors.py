"""What a graph takes and returns: names, element types and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["TensorInfo"]


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """A graph input or output: numpy dtype name, and a shape whose dynamic axes are names."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @cached_property
    def numpy_dtype(self) -> np.dtype | None:
        """The element type as an object, which compares faster than its name; None: numpy has none such."""
        try:
            return np.dtype(self.dtype)
        except TypeError:
            return None

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"
