"""ONNX operators as they are, where PyTorch's exporter writes a dozen for one.

A graph that computes its sizes holds many operators on a few numbers each, and an engine spends
microseconds on every one of them, which adds up to milliseconds before the first pixel is touched.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["arange", "crop", "divide", "pad", "reshape"]


def reshape(values: Tensor, shape: Tensor) -> Tensor:
    """ONNX's Reshape: -1 stands for the rest, and 0 keeps the axis at the same place.

    Args:
        values: Any tensor.
        shape: int64 [rank].
    """
    return _Reshape.apply(values, shape)  # type: ignore[no-any-return]


def crop(values: Tensor, start: Tensor, stop: Tensor, axis: int) -> Tensor:
    """ONNX's Slice of as many axes as ``start`` and ``stop`` (int64 [k]) have numbers, from ``axis`` on."""
    return _Crop.apply(values, start, stop, axis)  # type: ignore[no-any-return]


def pad(planes: Tensor, before: Tensor, after: Tensor, value: float) -> Tensor:
    """ONNX's Pad of the last two axes.

    Args:
        planes: [N, C, H, W].
        before, after: Rows and columns to add on either side, int64 [2].
        value: What to fill them with.
    """
    return _Pad.apply(planes, before, after, value)  # type: ignore[no-any-return]


def arange(stop: Tensor) -> Tensor:
    """0 to ``stop`` - 1; ``stop`` is an int64 scalar."""
    # torch traces a tensor here; its type hints know of numbers only.
    return torch.arange(stop)  # type: ignore[call-overload, no-any-return]


def divide(a: Tensor | int, b: Tensor | int) -> Tensor:
    """Floor division of int64 tensors that are not negative; one operator, unlike ``//``."""
    return torch.div(torch.as_tensor(a), b, rounding_mode="trunc")


class _Reshape(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, values: Tensor, shape: Tensor) -> Tensor:
        sizes = [values.shape[axis] if size == 0 else size for axis, size in enumerate(shape.tolist())]
        return values.reshape(sizes)

    @staticmethod
    def symbolic(g: Any, values: Any, shape: Any) -> Any:
        return g.op("Reshape", values, shape)


class _Crop(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, values: Tensor, start: Tensor, stop: Tensor, axis: int) -> Tensor:
        ranges = [slice(*pair) for pair in zip(start.tolist(), stop.tolist(), strict=True)]
        return values[(slice(None),) * axis + tuple(ranges)].clone()

    @staticmethod
    def symbolic(g: Any, values: Any, start: Any, stop: Any, axis: int) -> Any:
        count = start.type().sizes()[0]
        axes = g.op("Constant", value_t=torch.arange(axis, axis + count))
        return g.op("Slice", values, start, stop, axes)


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, planes: Tensor, before: Tensor, after: Tensor, value: float) -> Tensor:
        (top, left), (bottom, right) = before.tolist(), after.tolist()
        return F.pad(planes, (left, right, top, bottom), value=value)

    @staticmethod
    def symbolic(g: Any, planes: Any, before: Any, after: Any, value: float) -> Any:
        none = g.op("Constant", value_t=torch.zeros(2, dtype=torch.int64))
        sides = g.op("Concat", none, before, none, after, axis_i=0)
        return g.op("Pad", planes, sides, g.op("Constant", value_t=torch.tensor(float(value))))
