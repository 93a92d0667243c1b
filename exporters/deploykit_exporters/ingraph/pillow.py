"""``Image.resize`` of Pillow, with its antialiasing, inside a graph.

The arithmetic is that of ``libImaging/Resample.c`` up to version 12: width first, weights of 22 bits,
8 bits between the passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from deploykit_runtimes.contract.spec import Interpolation
from torch import Tensor

from deploykit_exporters.ingraph.operators import arange, crop, divide, reshape
from deploykit_exporters.ingraph.resize import Part, columns_first, offsets, origin

__all__ = ["PILLOW", "resize_pillow"]

_TILE = 8
_FAR = 1e9
_ZERO = torch.zeros(1, dtype=torch.int64)


class _Kernel(NamedTuple):
    """A filter of Pillow's.

    Attributes:
        support: Its half-width.
        value: Its value at signed distances, which are divided by the second argument. In a unit that
            makes whole numbers of them where that is small, and their sum more than 1.
        clips: Whether sums can lie outside 0..255.
    """

    support: int
    value: Callable[[Tensor, Tensor], Tensor]
    clips: bool


class _Scale(NamedTuple):
    """Where the outputs lie, and how far they reach, as int64 [2].

    Attributes:
        source, resized: Sizes, over their common factor where their ratio is simple.
        pixel, rest: Centre of the first output, in pixels and 1 / (2 * resized) pixels.
        unit: The distance that the kernel divides by, in 1 / (2 * resized) pixels.
        reach: The kernel's half-width in 1 / (2 * resized) pixels.
        margin: The same in pixels, rounded up.
        gap: What was added for that, in 1 / (2 * resized) pixels.
    """

    source: Tensor
    resized: Tensor
    pixel: Tensor
    rest: Tensor
    unit: Tensor
    reach: Tensor
    margin: Tensor
    gap: Tensor


class _Windows(NamedTuple):
    """The pixels that each tile of outputs reads; for both axes.

    Attributes:
        pixels: Positions in the used part of the photo, int64 [2, tiles, longest].
        distance: From each output's centre to each pixel's, in units of 1 / (2 * resized) pixels, and far
            away for pixels that do not count: float32 [2, tiles, tile, longest].
        lengths: How many pixels of a window count, int64 [2].
    """

    pixels: Tensor
    distance: Tensor
    lengths: Tensor


def resize_pillow(
    images: Tensor, part: Part, interpolation: Interpolation, *, channels: int = 3, whole: bool = False
) -> Tensor:
    """Resize as ``Image.resize((width, height), interpolation)`` does.

    Args:
        images: [N, H, W, C] of whole numbers 0..255, uint8 or float32.
        part: What to resize to what.
        interpolation: A key of ``PILLOW``.
        channels: C; each is resized by itself.
        whole: All of the photo is used and all of the result is wanted; saves copying its rows.

    Returns:
        float32 [N, C, h, w] of whole numbers 0..255.
    """
    kernel = PILLOW[interpolation]
    scale = _scale(part, kernel)
    low, high = (torch.zeros(2, dtype=torch.int64), part.source) if whole else _reach(part, scale)
    windows = _windows(part, scale, low, high)
    weights = _weights(kernel.value(windows.distance, scale.unit.to(torch.float32)[:, None, None, None]))
    (rows, columns), (down, across) = (_halves(table, windows, part) for table in (windows.pixels, weights))
    height = (high - low)[:1]
    if whole:
        lines = columns_first(images)
    else:
        lines = columns_first(images, part.corner[0] + low[0] + arange(height[0]))
        rows, columns = rows - low[0], columns + part.corner[1]
    read = reshape(lines[:, columns].to(torch.float32), torch.tensor([0, 0, 0, -1]))
    narrow = reshape(_sums(across, read, kernel), torch.cat([torch.tensor([0, -1, channels]), height]))
    planes = _sums(down, narrow.permute(0, 2, 3, 1)[:, :, rows], kernel)
    width = _TILE * _tiles(part)[1:]
    planes = reshape(planes, torch.cat([torch.tensor([0, 0, -1]), width]))
    if part.fixed and not any(side % _TILE for side in part.fixed):
        return planes
    return crop(planes, torch.tensor([0, 0]), part.length, 2)


def _scale(part: Part, kernel: _Kernel) -> _Scale:
    source, resized = _reduced(part.source, part.resized)
    # Kernels are as wide as the output's pixels when shrinking, and as the input's when enlarging.
    unit = 2 * torch.maximum(source, resized)
    reach, double = kernel.support * unit, 2 * resized
    margin = divide(reach + double - 1, double)
    pixel, rest = origin(part, source, resized)
    return _Scale(source, resized, pixel, rest, unit, reach, margin, margin * double - reach)


def _reduced(source: Tensor, resized: Tensor) -> tuple[Tensor, Tensor]:
    """Two sizes over their common factor, where their ratio is simple; themselves otherwise."""
    factors, source, resized = torch.arange(1, 65), source[:, None], resized[:, None]
    multiples = factors * source
    quotients = divide(multiples, resized)
    whole = quotients * resized == multiples
    return torch.where(whole, quotients, source).amin(1), torch.where(whole, factors, resized).amin(1)


def _reach(part: Part, scale: _Scale) -> tuple[Tensor, Tensor]:
    """The range of pixels, start and stop, that the outputs read; int64 [2] each."""
    double = 2 * scale.resized
    low = scale.pixel - scale.margin + divide(scale.rest + scale.gap, double)
    last = scale.rest + 2 * (part.length - 1) * scale.source
    high = scale.pixel + scale.margin + 1 + divide(last, double)
    return torch.maximum(low, _ZERO), torch.minimum(high, part.source)


def _windows(part: Part, scale: _Scale, low: Tensor, high: Tensor) -> _Windows:
    """Cut the outputs into tiles; windows stay within the pixels from ``low`` to ``high``."""
    double = 2 * scale.resized[:, None]
    # In units of 1 / (2 * resized) pixels, the centres of outputs and pixels are whole numbers.
    centres = 2 * offsets(part, _TILE) * scale.source[:, None] + scale.rest[:, None]
    centres = reshape(centres, torch.tensor([0, -1, _TILE]))
    lengths = divide((_TILE - 1) * scale.source + scale.reach, scale.resized) + 2
    lengths = torch.minimum(lengths, high - low)
    nearest = divide(centres[:, :, 0] + scale.gap[:, None], double) - scale.margin[:, None]
    first = torch.maximum(nearest + scale.pixel[:, None], low[:, None])
    first = torch.minimum(first, (high - lengths)[:, None])
    steps = arange(lengths.max())
    before = ((first - scale.pixel[:, None]) * double + scale.resized[:, None])[:, :, None] - centres
    further = torch.where(steps < lengths[:, None], (double * steps).to(torch.float32), _FAR)
    distance = before.to(torch.float32)[:, :, :, None] + further[:, None, None]
    return _Windows(first[:, :, None] + steps, distance, lengths)


def _weights(values: Tensor) -> Tensor:
    """22 bits, as Pillow rounds them, in two parts that a product in float32 can take.

    With sizes in a simple ratio, where sums often end in a half, everything here is exact.

    Returns:
        Coarse weights and then fine ones, in units of 2 ** -11 and 2 ** -22, times 2 ** -11: float32
        [2, tiles, 2 * tile, longest].
    """
    # Only outputs beyond the last can have no pixels.
    total = values.sum(3, keepdim=True).clamp(min=1.0)
    values = values * 2048
    coarse = torch.round(values / total)
    fine = torch.round((values - coarse * total) * 2048 / total)
    return torch.cat([coarse, fine], dim=2) * 2.0**-11


def _halves(table: Tensor, windows: _Windows, part: Part) -> tuple[Tensor, Tensor]:
    """For the rows and for the columns, from [2, tiles, ..., longest]: only what counts."""
    halves = []
    for axis in (0, 1):
        half = crop(table[axis], _ZERO, windows.lengths[axis : axis + 1], table.dim() - 2)
        if part.fixed is None or part.fixed[0] != part.fixed[1]:
            half = crop(half, _ZERO, _tiles(part)[axis : axis + 1], 0)
        halves.append(half)
    return halves[0], halves[1]


def _tiles(part: Part) -> Tensor:
    return divide(part.length + (_TILE - 1), _TILE)


def _sums(weights: Tensor, pixels: Tensor, kernel: _Kernel) -> Tensor:
    """Pillow's sum of 32-bit integers, rounded half up to 0..255, in float32 that holds 24 bits.

    Simple ratios of sizes put many sums so close to a half that the last bits of the weights decide.
    """
    # One product: what costs is to bring the pixels in order for it, not to multiply them.
    coarse, fine = torch.split(torch.matmul(weights, pixels), _TILE, dim=-2)
    rounded = torch.floor(torch.floor(fine) * 2.0**-11 + coarse + 0.5)
    return rounded.clamp(0, 255) if kernel.clips else rounded


def _bilinear(distance: Tensor, unit: Tensor) -> Tensor:
    return torch.relu(unit - distance.abs())


def _bicubic(distance: Tensor, unit: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.5, times 2 * unit ** 3."""
    x, double = distance.abs(), 2 * unit
    rest = torch.relu(double - x)
    return (unit - x) * torch.where(x < unit, (double - 3 * x) * x + double * unit, rest * rest)


def _lanczos(distance: Tensor, unit: Tensor) -> Tensor:
    """sinc(x) * sinc(x / 3) within 3 pixels, times 6."""
    x = distance / unit
    angle = math.pi * torch.where(x == 0, 1.0, x)
    value = 18 * torch.sin(angle) * torch.sin(angle / 3) / (angle * angle)
    return torch.where(x == 0, 6.0, torch.where(x.abs() < 3, value, 0.0))


PILLOW: dict[Interpolation, _Kernel] = {
    "bilinear": _Kernel(1, _bilinear, clips=False),
    "bicubic": _Kernel(2, _bicubic, clips=True),
    "lanczos": _Kernel(3, _lanczos, clips=True),
}
