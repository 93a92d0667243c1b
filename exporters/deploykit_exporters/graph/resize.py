"""Pillow's and OpenCV's ``resize`` as standard ONNX operators, for images of any size.

A resize is two passes of weighted sums. Written as one matrix product per axis it builds in every
engine, but nearly all of the matrix is zero. Here the outputs of an axis are cut into tiles, and each
tile multiplies the short window of pixels that it reads: a batched product a few dozen columns wide.
Everything is computed in the graph from the image's own shape, positions as exact integers, so that one
graph serves all sizes. No antialiased Resize, no loop and no data-dependent shape is involved, and
integers stay below 2 ** 31, since OpenVINO keeps int64 in 32 bits.

The arithmetic is that of ``libImaging/Resample.c`` (Pillow up to 12: width first, 8 bits between the
passes) and ``modules/imgproc/src/resize.cpp`` (OpenCV 4 and 5: coefficients of 11 bits).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from deploykit_runtimes.spec import Interpolation
from torch import Tensor
from torch.onnx.operators import reshape_from_tensor_shape, shape_as_tensor

__all__ = ["OPENCV", "PILLOW", "Span", "divide", "resize_opencv", "resize_pillow"]

_PILLOW_TILE = 16
_OPENCV_TILE = 8


class Span(NamedTuple):
    """Outputs ``start`` to ``stop`` of an axis that is resized from ``source`` to ``resized`` pixels.

    All are int64 scalars. Outputs outside the span, and pixels that only those read, cost nothing.
    """

    source: Tensor
    resized: Tensor
    start: Tensor
    stop: Tensor


class _Windows(NamedTuple):
    """The pixels that each tile of outputs reads.

    Attributes:
        outputs: Output positions, int64 [tiles, tile].
        first: First pixel of each window, int64 [tiles].
        steps: Pixels of a window after its first, int64 [length].
    """

    outputs: Tensor
    first: Tensor
    steps: Tensor

    @property
    def pixels(self) -> Tensor:
        """int64 [tiles, length]."""
        return self.first[:, None] + self.steps


class _Kernel(NamedTuple):
    """A filter of Pillow's.

    Attributes:
        support: Its half-width.
        value: Its value, in any unit, at signed distances, which are divided by the second argument.
            Whole numbers where that is small.
    """

    support: int
    value: Callable[[Tensor, Tensor], Tensor]


def divide(a: Tensor | int, b: Tensor | int) -> Tensor:
    """Floor division of int64 tensors that are not negative; one operator, unlike ``//``."""
    return torch.div(torch.as_tensor(a), b, rounding_mode="trunc")


def _range(stop: Tensor) -> Tensor:
    # torch traces a tensor here; its type hints know of numbers only.
    return torch.arange(stop)  # type: ignore[call-overload, no-any-return]


def resize_pillow(
    images: Tensor, rows: Span, columns: Span, interpolation: Interpolation, *, cropped: bool = True
) -> Tensor:
    """Resize as ``Image.resize((width, height), interpolation)`` does.

    Args:
        images: [N, H, W, 3] of whole numbers 0..255, uint8 or float32.
        rows, columns: What to resize H and W to, and the part of the result that is wanted.
        interpolation: A key of ``PILLOW``.
        cropped: Whether ``rows`` may be less than all; rows of the photo that no output reads are then
            dropped first.

    Returns:
        float32 [N, 3, h, w] of whole numbers 0..255.
    """
    kernel = PILLOW[interpolation]
    batch = shape_as_tensor(images)[0]
    top, bottom = _reach(rows, kernel.support) if cropped else (torch.tensor(0), rows.source)
    lines = _columns_first(images[:, top:bottom] if cropped else images)
    windows = _windows(columns, kernel.support, torch.tensor(0), columns.source)
    narrow = _pillow_sums(_pillow_weights(windows, columns, kernel), lines[windows.pixels])
    narrow = _planes(narrow, bottom - top)
    windows = _windows(rows, kernel.support, top, bottom)
    planes = _pillow_sums(_pillow_weights(windows, rows, kernel), narrow[:, windows.pixels - top])
    return _images(planes, batch, rows, columns)


def resize_opencv(images: Tensor, rows: Span, columns: Span, interpolation: Interpolation) -> Tensor:
    """Resize as ``cv2.resize(image, (width, height), interpolation=...)`` does.

    Args:
        images: [N, H, W, 3] of whole numbers 0..255, uint8 or float32.
        rows, columns: What to resize H and W to, and the part of the result that is wanted.
        interpolation: A key of ``OPENCV``.

    Returns:
        float32 [N, 3, h, w] of whole numbers 0..255.
    """
    return OPENCV[interpolation](images, rows, columns)


def _linear(images: Tensor, rows: Span, columns: Span) -> Tensor:
    """Picks the two rows under each output first: the work grows with the result, not with the photo."""
    batch = shape_as_tensor(images)[0]
    down = _taps(rows, rows.start + _range(rows.stop - rows.start), _linear_weights)
    picked = _columns_first(images[:, down.pixels.transpose(0, 1).reshape(-1)])
    across = _tiled_taps(columns, _linear_weights)
    sums = torch.floor(torch.matmul(across.weights / 16, picked[across.pixels].to(torch.float32)))
    height = rows.stop - rows.start
    planes = _planes(sums, 2 * height)
    # OpenCV drops 4 bits before and 16 after the product, to stay within 32 bits, and the last 2 rounded.
    gains = down.weights.transpose(0, 1) * 2.0**-16
    halves = (planes[:, :height], planes[:, height:])
    upper, lower = (torch.floor(half * gain[:, None]) for half, gain in zip(halves, gains, strict=True))
    return _images(torch.floor((upper + lower) * 0.25 + 0.5), batch, rows, columns)


def _cubic(images: Tensor, rows: Span, columns: Span) -> Tensor:
    """Exact sums across; down in float32, rounded half to even, as OpenCV's vector code does."""
    batch = shape_as_tensor(images)[0]
    across, down = (_tiled_taps(span, _cubic_weights) for span in (columns, rows))
    lines = _columns_first(images)[across.pixels].to(torch.float32)
    narrow = _planes(torch.matmul(across.weights, lines), rows.source)
    planes = torch.matmul(down.weights * 2.0**-22, narrow[:, down.pixels])
    return _images(torch.round(planes).clamp(0, 255), batch, rows, columns)


OPENCV: dict[Interpolation, Callable[[Tensor, Span, Span], Tensor]] = {
    "bilinear": _linear,
    "bicubic": _cubic,
}


def _columns_first(images: Tensor) -> Tensor:
    """[N, H, W, 3] as [W, 3 * N * H]. A transpose of two axes is ten times faster than one of three."""
    width = shape_as_tensor(images)[2]
    lines = reshape_from_tensor_shape(images, torch.stack([torch.tensor(-1), 3 * width]))
    return reshape_from_tensor_shape(lines.transpose(0, 1), torch.stack([width, torch.tensor(-1)]))


def _planes(sums: Tensor, height: Tensor) -> Tensor:
    """[tiles, tile, 3 * N * H] as [3 * N, H, tiles * tile]."""
    columns = shape_as_tensor(sums)[2]
    lines = reshape_from_tensor_shape(sums, torch.stack([torch.tensor(-1), columns])).transpose(0, 1)
    width = shape_as_tensor(lines)[1]
    return reshape_from_tensor_shape(lines, torch.stack([torch.tensor(-1), height, width]))


def _images(planes: Tensor, batch: Tensor, rows: Span, columns: Span) -> Tensor:
    """[3 * N, ..., w] as [N, 3, h, w], without what the last tiles hold beyond the spans."""
    width = shape_as_tensor(planes)[-1]
    shape = torch.stack([torch.tensor(3), batch, torch.tensor(-1), width])
    images = reshape_from_tensor_shape(planes, shape)
    return images[:, :, : rows.stop - rows.start, : columns.stop - columns.start].transpose(0, 1)


def _reach(span: Span, support: int) -> tuple[Tensor, Tensor]:
    """The range of pixels, start and stop, that the outputs of a span read."""
    source, resized, start, stop = span
    reach = 2 * support * torch.maximum(source, resized)
    low = torch.maximum((2 * start + 1) * source - reach, torch.tensor(0))
    high = divide((2 * stop - 1) * source + reach, 2 * resized) + 1
    return divide(low, 2 * resized), torch.minimum(high, source)


def _windows(span: Span, support: int, low: Tensor, high: Tensor) -> _Windows:
    """Cut the outputs of a span into tiles; windows stay within pixels ``low`` to ``high``."""
    source, resized = span.source, span.resized
    outputs = _tiles(span, _PILLOW_TILE)
    reach = 2 * support * torch.maximum(source, resized)
    length = torch.minimum(divide((_PILLOW_TILE - 1) * source + reach, resized) + 2, high - low)
    before = torch.maximum((2 * outputs[:, 0] + 1) * source - reach, torch.tensor(0))
    first = torch.maximum(divide(before, 2 * resized), low)
    return _Windows(outputs, torch.minimum(first, high - length), _range(length))


def _tiles(span: Span, tile: int) -> Tensor:
    """The outputs of a span, and a few more to fill the last tile, int64 [tiles, tile]."""
    tiles = divide(span.stop - span.start + (tile - 1), tile)
    return span.start + tile * _range(tiles)[:, None] + torch.arange(tile)


def _pillow_weights(windows: _Windows, span: Span, kernel: _Kernel) -> Tensor:
    """In units of 2 ** -22, as Pillow rounds them: float32 [tiles, tile, length] of whole numbers.

    With sizes in a simple ratio, where sums often end in a half, everything here is exact.
    """
    source, resized = _reduced(span.source, span.resized)
    # Distances of pixel and output centres in units of 1 / (2 * resized) pixels are whole numbers.
    starts = (2 * windows.first[:, None] + 1) * resized - (2 * windows.outputs + 1) * source
    distance = (starts[:, :, None] + 2 * resized * windows.steps).to(torch.float32)
    # Kernels are as wide as the output's pixels when shrinking, and as the input's when enlarging.
    values = kernel.value(distance, (2 * torch.maximum(source, resized)).to(torch.float32))
    total = values.sum(2, keepdim=True)
    # Only rows beyond the last output can be empty.
    total = torch.where(total > 0, total, 1.0)
    upper = torch.floor(values * 2048 / total)
    lower = torch.floor((values * 2048 - upper * total) * 2048 / total + 0.5)
    return upper * 2048 + lower


def _reduced(source: Tensor, resized: Tensor) -> tuple[Tensor, Tensor]:
    """Two sizes over their common factor, where their ratio is simple; themselves otherwise."""
    factors = torch.arange(1, 65)
    multiples = factors * source
    whole = multiples == divide(multiples, resized) * resized
    smallest = torch.where(whole, factors, resized).min()
    return divide(smallest * source, resized), smallest


def _pillow_sums(weights: Tensor, pixels: Tensor) -> Tensor:
    """Pillow's sum of 32-bit integers, rounded half up to 0..255, in float32 that holds 24 bits.

    Simple ratios of sizes put many sums so close to a half that the last bits of the weights decide.
    """
    upper = torch.floor(weights * 2.0**-11)
    lower = weights * 2.0**-11 - upper
    # One product: what costs is to bring the pixels in order for it, not to multiply them.
    sums = torch.matmul(torch.cat([upper, lower * 2048], dim=1), pixels.to(torch.float32))
    high, low = sums[..., :_PILLOW_TILE, :], sums[..., _PILLOW_TILE:, :]
    return torch.floor((high + torch.floor(low * 2.0**-11)) * 2.0**-11 + 0.5).clamp(0, 255)


def _bilinear(distance: Tensor, unit: Tensor) -> Tensor:
    return torch.relu(unit - distance.abs())


def _bicubic(distance: Tensor, unit: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.5, times 2 * unit ** 3."""
    x = distance.abs()
    rest = torch.relu(2 * unit - x)
    near = (3 * x - 5 * unit) * x * x + 2 * unit * unit * unit
    return torch.where(x < unit, near, (unit - x) * rest * rest)


def _lanczos(distance: Tensor, unit: Tensor) -> Tensor:
    """sinc(x) * sinc(x / 3) within 3 pixels."""
    x = distance / unit
    angle = math.pi * torch.where(x == 0, 1.0, x)
    value = 3 * torch.sin(angle) * torch.sin(angle / 3) / (angle * angle)
    return torch.where(x == 0, 1.0, torch.where(x.abs() < 3, value, 0.0))


PILLOW: dict[Interpolation, _Kernel] = {
    "bilinear": _Kernel(1, _bilinear),
    "bicubic": _Kernel(2, _bicubic),
    "lanczos": _Kernel(3, _lanczos),
}


class _Taps(NamedTuple):
    """The K pixels under each output and their weights in units of 1/2048; both [..., K]."""

    pixels: Tensor
    weights: Tensor


def _taps(span: Span, outputs: Tensor, weights: Callable[[Tensor], Tensor]) -> _Taps:
    """Pixels outside the image are those of its edge, which then counts more than once."""
    source, resized = span.source, span.resized
    # The centre of an output is at (2 * output + 1) * source / (2 * resized) - 1 / 2 pixels. One pixel
    # is added to divide positive numbers only.
    centre = (2 * outputs + 1) * source + resized
    whole = divide(centre, 2 * resized)
    rest = (centre - 2 * resized * whole).to(torch.float32) / (2 * resized).to(torch.float32)
    # OpenCV keeps the position in float32, whose precision on a large image shows in the weights.
    position = (whole - 1).to(torch.float32) + rest
    start = torch.floor(position)
    values = torch.round(weights(position - start) * 2048)
    count = values.shape[-1]
    near = start.to(torch.int64)[..., None] + torch.arange(count) - (count // 2 - 1)
    inside = torch.minimum(torch.maximum(near, torch.tensor(0)), source - 1)
    return _Taps(inside, values)


def _linear_weights(x: Tensor) -> Tensor:
    return torch.stack([1 - x, x], dim=-1)


def _cubic_weights(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.75."""
    a = -0.75
    far = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    after = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    return torch.stack([far, near, after, 1 - far - near - after], dim=-1)


def _tiled_taps(span: Span, weights: Callable[[Tensor], Tensor]) -> _Taps:
    """Taps as a batched product takes them: pixels [tiles, tile * K], weights [tiles, tile, tile * K]."""
    taps = _taps(span, _tiles(span, _OPENCV_TILE), weights)
    count = _OPENCV_TILE * taps.weights.shape[-1]
    apart = taps.weights[:, :, None] * torch.eye(_OPENCV_TILE)[:, :, None]
    return _Taps(taps.pixels.reshape(-1, count), apart.reshape(-1, _OPENCV_TILE, count))
