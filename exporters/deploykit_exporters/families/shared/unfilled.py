"""Networks without weights, built to receive those of a file.

``torch.device("meta")`` gives tensors no memory. Constructors still compute their initial values there,
operator by operator and in Python, which takes most of the time of building a ViT.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["unfilled"]

_FILLS = frozenset(
    getattr(torch.Tensor, name)
    for name in ("add_", "clamp_", "div_", "erfinv_", "fill_", "mul_", "normal_", "sub_", "uniform_", "zero_")
)
"""What initialisation calls on a tensor; shapes stay as they are."""


@contextmanager
def unfilled() -> Iterator[None]:
    """A block in which new tensors are on the meta device and are never filled."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _FILLS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
