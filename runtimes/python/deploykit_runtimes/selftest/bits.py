"""Pseudo-random numbers and pictures that every language makes alike, to the bit.

The generator is SplitMix64 (G. L. Steele, D. Lea, C. H. Flood: Fast Splittable Pseudorandom Number
Generators, OOPSLA 2014), whose n-th number needs none of those before it.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["noise", "positions", "random_numbers", "softened", "views"]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_AT_ONCE = 1 << 20
"""Numbers that are made at once: each takes as many bytes as eight pixels."""
_TURN = 7
"""Columns by which every further three channels of a picture are turned."""


def random_numbers(seed: int, count: int, first: int = 0) -> np.ndarray:
    """``count`` numbers of SplitMix64 that starts at ``seed``, from number ``first`` on, uint64 [count]."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + np.arange(first + 1, first + count + 1, dtype=np.uint64) * _STEP
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
    return np.asarray(state ^ (state >> np.uint64(31)))


def noise(seed: int, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Uniform pixels, uint8 [N, H, W, C]: the highest byte of each number, in the order of memory."""
    pixels = np.empty(math.prod(shape), np.uint8)
    for start in range(0, len(pixels), _AT_ONCE):
        part = pixels[start : start + _AT_ONCE]
        part[...] = random_numbers(seed, len(part), start) >> np.uint64(56)
    return pixels.reshape(shape)


def views(picture: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """A small picture as a batch of images: scaled, and each image another view of it.

    Image ``n`` is mirrored where ``n`` is odd and upside down where ``n // 2`` is. Channel ``c`` is channel
    ``c % C`` of the picture with its columns turned by ``7 * (c // C)``. Between pixels, values are
    interpolated in whole numbers: 8 bits of fraction each way, rounded once.

    Args:
        picture: uint8 [h, w, C].
        shape: (N, H, W, channels) of the result.

    Returns:
        uint8 [N, H, W, channels].
    """
    count, height, width, channels = shape
    bands = picture.shape[2]
    images = np.empty(shape, np.uint8)
    for channel in range(channels):
        plane = np.roll(picture[..., channel % bands], _TURN * (channel // bands), axis=1)
        images[0, ..., channel] = _scaled(plane, height, width)
    flips = (np.s_[:, :], np.s_[:, ::-1], np.s_[::-1, :], np.s_[::-1, ::-1])
    for index in range(1, count):
        images[index] = images[0][flips[index % 4]]
    return images


def _scaled(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    top, down = _places(plane.shape[0], height)
    left, right = _places(plane.shape[1], width)
    pixels = plane.astype(np.int64)
    lower, further = np.minimum(top + 1, len(plane) - 1), np.minimum(left + 1, plane.shape[1] - 1)
    down, right = down[:, None], right[None, :]
    upper_row = pixels[top][:, left] * (256 - right) + pixels[top][:, further] * right
    lower_row = pixels[lower][:, left] * (256 - right) + pixels[lower][:, further] * right
    scaled: np.ndarray = (upper_row * (256 - down) + lower_row * down + 32768) >> 16
    return scaled.astype(np.uint8)


def _places(source: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new pixel the old one before its centre, and how far behind it the centre lies, of 256."""
    centre = (2 * np.arange(length, dtype=np.int64) + 1) * source * 256 // (2 * length) - 128
    centre = np.clip(centre, 0, (source - 1) * 256)
    return centre >> 8, centre & 255


def softened(pixels: np.ndarray, halvings: int) -> np.ndarray:
    """Pixels uint8 with their contrast halved ``halvings`` times, towards 128."""
    grey = 128 * ((1 << halvings) - 1)
    return ((pixels.astype(np.uint16) + np.uint16(grey)) >> np.uint16(halvings)).astype(np.uint8)


def positions(size: int, count: int) -> np.ndarray:
    """Where ``count`` samples of ``size`` values are taken, int64, one in each of as many equal stretches."""
    if size <= count:
        return np.arange(size, dtype=np.int64)
    index = np.arange(count, dtype=np.int64)
    start, stop = index * size // count, (index + 1) * size // count
    inside = random_numbers(0, count) % (stop - start).astype(np.uint64)
    return start + inside.astype(np.int64)
