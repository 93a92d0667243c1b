"""``cv2.resize`` inside a graph: bilinear and bicubic, not antialiased.

The arithmetic is that of ``modules/imgproc/src/resize.cpp`` of OpenCV 4 and 5: weights of 11 bits, of
which ``deploykit_runtimes.pixels.resample`` is the counterpart on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from deploykit_runtimes.contract.spec import Interpolation
from torch import Tensor

from deploykit_exporters.ingraph.operators import arange, crop, divide, reshape
from deploykit_exporters.ingraph.resize import Part, columns_first, offsets, origin

__all__ = ["OPENCV", "resize_opencv"]

_ONE = 2048  # weights carry 11 fractional bits
_ZERO = torch.zeros(1, dtype=torch.int64)


class _Taps(NamedTuple):
    """The K pixels under each of n outputs, the last first, int64; their weights in 1 / 2048, float32.

    Both are [n, K].
    """

    pixels: Tensor
    weights: Tensor


class _Filter(NamedTuple):
    """A filter of OpenCV's.

    Attributes:
        weights: Weights of the K pixels around a position, the last first, float32 [2, n] to [2, n, K];
            the position is its distance from the pixel before it. All are in units of 1 / 2048.
        across: The sums of K columns: weights [n, 1, K] and pixels [N, n, K, m] to [N, n, 1, m].
        down: The sums of K rows, rounded to 0..255: weights [K, h, 1] and pixels [N, C, K, h, w] to
            [N, C, h, w] or [N, C, 1, h * w].
    """

    weights: Callable[[Tensor], Tensor]
    across: Callable[[Tensor, Tensor], Tensor]
    down: Callable[[Tensor, Tensor], Tensor]


def resize_opencv(images: Tensor, part: Part, interpolation: Interpolation, *, channels: int = 3) -> Tensor:
    """Resize as ``cv2.resize(image, (width, height), interpolation=...)`` does.

    Args:
        images: [N, H, W, C] of whole numbers 0..255, uint8 or float32.
        part: What to resize to what.
        interpolation: A key of ``OPENCV``.
        channels: C.

    Returns:
        float32 [N, C, h, w] of whole numbers 0..255.
    """
    how = OPENCV[interpolation]
    down, across = _taps(part, how.weights)
    picked, rows = _picked(part, down.pixels.transpose(0, 1))
    lines = columns_first(images, part.corner[0] + picked)
    columns = lines[:, across.pixels + part.corner[1]].to(torch.float32)
    sums = how.across(across.weights[:, None], reshape(columns, torch.tensor([0, 0, 0, -1])))
    narrow = reshape(sums, torch.tensor([0, 0, channels, -1])).permute(0, 2, 3, 1)
    planes = how.down(down.weights.transpose(0, 1)[:, :, None], narrow[:, :, rows])
    return reshape(planes, torch.cat([torch.tensor([0, 0]), part.length]))


def _taps(part: Part, weights: Callable[[Tensor], Tensor]) -> tuple[_Taps, _Taps]:
    """For the rows and for the columns. Pixels outside the image are those of its edge, counted again."""
    source, resized = part.source[:, None], part.resized[:, None]
    pixel, rest = origin(part, part.source, part.resized)
    # In units of 1 / (2 * resized) pixels, the centres of outputs and pixels are whole numbers. One
    # pixel is added to divide positive numbers only.
    centres, double = 2 * offsets(part) * source + (rest + part.resized)[:, None], 2 * resized
    whole = divide(centres, double)
    rest = (centres - double * whole) * _ONE
    parts = divide(rest, double)
    # OpenCV keeps the position in float32, whose precision on a large image shows in the weights: only
    # the last sum may round. From here on in units of 1 / 2048 pixels.
    position = ((whole + (pixel - 1)[:, None]) * _ONE + parts).to(torch.float32)
    position = position + (rest - parts * double).to(torch.float32) / double.to(torch.float32)
    before = torch.floor(position * (1 / _ONE))
    values = torch.round(weights(position - before * _ONE))
    taps = values.shape[2]
    near = before.to(torch.int64)[:, :, None] + torch.arange(taps // 2, -taps // 2, -1)
    pixels = torch.minimum(torch.maximum(near, _ZERO), (source - 1)[:, :, None])
    down, across = (_Taps(*(_of_axis(part, table, axis) for table in (pixels, values))) for axis in (0, 1))
    return down, across


def _of_axis(part: Part, table: Tensor, axis: int) -> Tensor:
    if part.fixed and part.fixed[0] == part.fixed[1]:
        return table[axis]
    return crop(table[axis], _ZERO, part.length[axis : axis + 1], 0)


def _picked(part: Part, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the photo that are worked on, and where ``rows``, int64 [K, h], lie among them.

    All of the photo's, or those that are read where they are fewer: then the work grows with the result,
    not with the photo.
    """
    taps, height = rows.shape[0], part.source[0]
    read = taps * part.length[0]
    few = read < height
    count = torch.minimum(read, height)
    picked = torch.where(few, crop(rows.reshape(-1), _ZERO, count[None], 0), arange(count))
    return picked, torch.where(few, arange(read).reshape(taps, -1), rows)


def _linear_weights(x: Tensor) -> Tensor:
    return (torch.tensor([0.0, _ONE]) - x[:, :, None]).abs()


def _linear_across(weights: Tensor, pixels: Tensor) -> Tensor:
    """Exact, but for the 4 bits that OpenCV drops."""
    return torch.floor(torch.matmul(weights * 2.0**-4, pixels))


def _linear_down(weights: Tensor, pixels: Tensor) -> Tensor:
    """OpenCV drops 16 bits of each product, to stay within 32 bits, and the last 2 rounded."""
    terms = torch.floor(pixels * (weights * 2.0**-16))
    # The product adds two planes in half the time of a sum over their axis.
    quarters = torch.matmul(torch.full((1, 2), 0.25), reshape(terms, torch.tensor([0, 0, 2, -1])))
    return torch.floor(quarters + 0.5)


def _cubic_weights(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.75."""
    a, x = -0.75, x * (1 / _ONE)
    far = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    after = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    return torch.stack([1 - far - near - after, after, near, far], dim=-1) * _ONE


def _cubic_down(weights: Tensor, pixels: Tensor) -> Tensor:
    """In float32, the last row first, rounded half to even, as OpenCV's vector code does."""
    return torch.round((pixels * (weights * 2.0**-22)).sum(2)).clamp(0, 255)


OPENCV: dict[Interpolation, _Filter] = {
    "bilinear": _Filter(_linear_weights, _linear_across, _linear_down),
    "bicubic": _Filter(_cubic_weights, torch.matmul, _cubic_down),
}
