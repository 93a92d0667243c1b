"""Pillow's and OpenCV's ``resize`` as standard ONNX operators, for images of any size.

A resize is two passes of weighted sums. Written as one matrix product per axis it builds in every
engine, but nearly all of the matrix is zero. Here each output (OpenCV, which reads 2 or 4 pixels) or
each tile of outputs (Pillow, whose kernels grow with the photo) multiplies the pixels that it reads: a
batched product a few dozen columns wide. Everything is computed in the graph from the image's own
shape, positions as exact integers, so that one graph serves all sizes. No antialiased Resize, no loop
and no data-dependent shape is involved, and integers stay below 2 ** 31, since OpenVINO keeps int64 in
32 bits.

What costs time on a CPU, next to the products, is to move pixels and to start operators. So pixels are
transposed once, with the columns first, which makes any choice of columns a copy of long runs, and
everything about positions and weights is computed for both axes at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from deploykit_exporters.ingraph.operators import arange, divide

__all__ = ["Part", "columns_first", "offsets", "origin"]

_DIGIT = 1 << 7


class Part(NamedTuple):
    """Which part of a photo is resized to what, and which part of the result is wanted.

    The tensors are (vertical, horizontal), int64 [2]. What is not wanted costs nothing, nor do pixels
    that only that reads.

    Attributes:
        corner, source: Top-left corner and size of the part of the photo that is used.
        resized: Its size after the resize.
        start: The first output that is wanted; None for that at 0.
        length: How many outputs are wanted.
        most: The largest ``length`` that either axis can have; None where it depends on the photo.
        fixed: ``length``, where it does not depend on the photo.
    """

    corner: Tensor
    source: Tensor
    resized: Tensor
    start: Tensor | None
    length: Tensor
    most: int | None = None
    fixed: tuple[int, int] | None = None


def origin(part: Part, source: Tensor, resized: Tensor) -> tuple[Tensor, Tensor]:
    """The centre of the first output: whole pixels, and 1 / (2 * resized) pixels beyond; int64 [2] each.

    Args:
        part: The part.
        source, resized: Its sizes, or both divided by the same number.
    """
    if part.start is None:
        return torch.zeros(2, dtype=torch.int64), source
    # (2 * start + 1) * source / (2 * resized) digit by digit: the shorter side of a narrow photo as wide
    # as a model's input makes the other one so long that the product would exceed 31 bits.
    outputs, double = 2 * part.start + 1, 2 * resized
    upper = divide(source, _DIGIT)
    product = outputs * upper
    high = divide(product, double)
    rest = (product - high * double) * _DIGIT + outputs * (source - upper * _DIGIT)
    low = divide(rest, double)
    return high * _DIGIT + low, rest - low * double


def offsets(part: Part, multiple: int = 1) -> Tensor:
    """0, 1, 2 and so on: as many as the longer axis has outputs, rounded up to a multiple; int64."""
    if part.most is None:
        return arange(divide(part.length + (multiple - 1), multiple).max() * multiple)
    return torch.arange(-(-part.most // multiple) * multiple)


def columns_first(images: Tensor, rows: Tensor | None = None) -> Tensor:
    """Some rows (all of them by default) of [N, H, W, C] as [N, W, C, rows].

    Moving one axis to the end is a transposition of matrices, which is ten times faster than others.
    """
    return (images if rows is None else images[:, rows]).permute(0, 2, 3, 1)
