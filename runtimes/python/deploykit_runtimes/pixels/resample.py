"""OpenCV's ``resize`` for uint8 images, in numpy, to the bit.

Detectors are trained behind ``cv2.resize``, which does not antialias and rounds its coefficients to
11 bits; any other bilinear filter moves boxes and scores. The arithmetic follows
``modules/imgproc/src/resize.cpp`` of OpenCV 4 and 5. Builds that carry Intel's IPP take its bicubic
instead of OpenCV's own, which differs from this one by at most 1 of 255.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from deploykit_runtimes.contract.spec import Interpolation
from deploykit_runtimes.errors import ModelError

__all__ = ["resize_opencv"]

_ONE = 2048  # weights carry 11 fractional bits
_BLOCK_PIXELS = 8192  # output pixels per step, so that its intermediate rows stay in the cache


class _Taps(NamedTuple):
    """For each of n output positions along one axis, K source positions and weights, both [K, n]."""

    positions: np.ndarray
    weights: np.ndarray


def resize_opencv(image: np.ndarray, size: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """Resize as ``cv2.resize(image, size[::-1], interpolation=...)`` does.

    Args:
        image: uint8 [H, W, C].
        size: (height, width) of the result.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``area``, for INTER_NEAREST,
            INTER_LINEAR, INTER_CUBIC and INTER_AREA.

    Returns:
        uint8 [height, width, C]; ``image`` itself where it has that size already.

    Raises:
        ModelError: OpenCV has no such interpolation.
    """
    if image.shape[:2] == size:
        return image
    if interpolation == "nearest":
        rows, columns = (_nearest(n, m) for n, m in zip(image.shape[:2], size, strict=True))
        picked: np.ndarray = image[rows[:, None], columns]
        return picked
    if interpolation == "bilinear":
        return _separable(image, size, _linear_taps, _sum_linear)
    if interpolation == "bicubic":
        return _separable(image, size, _cubic_taps, _sum_cubic)
    if interpolation == "area":
        return _area(image, size)
    raise ModelError(
        f"The model asks for OpenCV's {interpolation!r} resize, which does not exist.",
        hint="OpenCV has nearest, bilinear, bicubic and area; lanczos and box are Pillow's.",
    )


def _nearest(n: int, m: int) -> np.ndarray:
    positions: np.ndarray = np.minimum(np.floor(np.arange(m) * _scale(n, m)), n - 1).astype(np.intp)
    return positions


def _scale(n: int, m: int) -> float:
    return 1 / (m / n)  # not n / m: OpenCV inverts the rounded inverse


@lru_cache(maxsize=64)
def _linear_taps(n: int, m: int) -> _Taps:
    start, x = _origin(n, m)
    return _clipped(start, np.stack([1 - x, x]), n)


@lru_cache(maxsize=64)
def _area_enlarging_taps(n: int, m: int) -> _Taps:
    start = np.floor(np.arange(m) * _scale(n, m)).astype(np.intp)
    x = ((np.arange(m) + 1) - (start + 1) * (m / n)).astype(np.float32)
    x = np.where(x <= 0, np.float32(0), x - np.floor(x))
    return _clipped(start, np.stack([1 - x, x]), n)


@lru_cache(maxsize=64)
def _cubic_taps(n: int, m: int) -> _Taps:
    """Keys' cubic convolution with a = -0.75."""
    start, x = _origin(n, m)
    a = np.float32(-0.75)
    far = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    after = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    return _clipped(start - 1, np.stack([far, near, after, 1 - far - near - after]), n)


def _origin(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixel at or before each output position, and the distance from it in 0..1."""
    position = ((np.arange(m) + 0.5) * _scale(n, m) - 0.5).astype(np.float32)
    start = np.floor(position)
    return start.astype(np.intp), position - start


def _clipped(start: np.ndarray, weights: np.ndarray, n: int) -> _Taps:
    positions = np.clip(start + np.arange(len(weights))[:, None], 0, n - 1)
    return _Taps(positions, np.rint(weights.astype(np.float32) * np.float32(_ONE)).astype(np.int32))


def _separable(
    image: np.ndarray,
    size: tuple[int, int],
    taps: Callable[[int, int], _Taps],
    sum_rows: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Horizontal pass in exact integers over the rows that the vertical pass ``sum_rows`` needs."""
    channels = image.shape[2]
    height, width = size
    lines = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    across, down = taps(image.shape[1], width), taps(image.shape[0], height)
    columns = (across.positions[..., None] * channels + np.arange(channels)).reshape(
        len(across.positions), -1
    )
    weights = np.repeat(across.weights, channels, axis=1)
    out = np.empty((height, width * channels), np.uint8)
    step = max(1, _BLOCK_PIXELS // width)
    for top in range(0, height, step):
        block = slice(top, min(top + step, height))
        rows, where = np.unique(down.positions[:, block], return_inverse=True)
        sums = _sum_columns(lines[rows], columns, weights)
        out[block] = sum_rows(sums, where.reshape(-1, block.stop - top), down.weights[:, block, None])
    return out.reshape(height, width, channels)


def _sum_columns(lines: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total: np.ndarray = np.take(lines, columns[0], axis=1).astype(np.int32)
    total *= weights[0]
    for positions, weight in zip(columns[1:], weights[1:], strict=True):
        term = np.take(lines, positions, axis=1).astype(np.int32)
        term *= weight
        total += term
    return total


def _sum_linear(sums: np.ndarray, where: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """OpenCV drops 4 bits before and 16 after the product, to stay within 32 bits."""
    sums >>= 4
    upper: np.ndarray = sums[where[0]]
    lower: np.ndarray = sums[where[1]]
    upper *= weights[0]
    upper >>= 16
    lower *= weights[1]
    lower >>= 16
    upper += lower
    upper += 2
    upper >>= 2
    return upper


def _sum_cubic(sums: np.ndarray, where: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """OpenCV's vector code sums in float32, the last row first, and rounds half to even."""
    scaled = weights.astype(np.float32) * np.float32(1 / _ONE**2)
    values = sums.astype(np.float32)
    total: np.ndarray = values[where[3]] * scaled[3]
    for k in (2, 1, 0):
        total += values[where[k]] * scaled[k]
    np.rint(total, out=total)
    return np.clip(total, 0, 255, out=total)


def _area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    (h, w), (height, width) = image.shape[:2], size
    if height > h or width > w:
        return _separable(image, size, _area_enlarging_taps, _sum_linear)
    if (h, w) == (2 * height, 2 * width):
        pixels = image.astype(np.int32)
        pairs = pixels[0::2] + pixels[1::2]
        means: np.ndarray = (pairs[:, 0::2] + pairs[:, 1::2] + 2) >> 2
        return means.astype(np.uint8)
    narrow = np.einsum("xw,hwc->hxc", _coverage(w, width), image.astype(np.float32), optimize=True)
    total: np.ndarray = np.einsum("yh,hxc->yxc", _coverage(h, height), narrow, optimize=True)
    np.rint(total, out=total)
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


@lru_cache(maxsize=8)
def _coverage(n: int, m: int) -> np.ndarray:
    """Share of each of n source pixels in each of m output pixels, float32 [m, n]."""
    edges = np.arange(m + 1) * _scale(n, m)
    pixels = np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    share: np.ndarray = np.clip(overlap, 0, 1)
    share[share < 1e-3] = 0  # OpenCV ignores slivers
    share /= _scale(n, m)
    return share.astype(np.float32)
