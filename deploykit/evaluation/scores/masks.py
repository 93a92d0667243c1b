"""Outlines and prototypes as masks, at a quarter of the tensor's size, as in Ultralytics' ``val``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deploykit_runtimes.pixels.geometry import Geometry
from PIL import Image, ImageDraw

__all__ = ["mask_overlaps", "network_masks", "outline_masks"]

_POINTS = 1000
_EPS = 1e-7


def outline_masks(
    outlines: Sequence[np.ndarray], geometry: Geometry, *, reduced: int
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of polygons; where they overlap, a pixel belongs to the smallest.

    Args:
        outlines: Each float32 [k, 2], in shares of the picture's sides.
        geometry: How the picture lies in the tensor.
        reduced: 4, or 1 for the full resolution of the tensor.

    Returns:
        bool [n, h, w], the largest first, and the order of the outlines, int64 [n].
    """
    high, wide = (length // reduced for length in geometry.input_size)
    if not outlines:
        return np.zeros((0, high, wide), bool), np.zeros(0, np.int64)
    points = max(_POINTS, max(len(outline) for outline in outlines) + 1)
    drawn = np.stack([_drawn(_dense(outline, points), geometry, reduced) for outline in outlines])
    order = np.argsort(-drawn.sum((1, 2)), kind="stable")
    drawn = drawn[order]
    later = np.zeros((high, wide), bool)
    for mask in drawn[::-1]:
        seen = mask & ~later
        later |= mask
        mask[:] = seen
    return drawn, order


def _dense(outline: np.ndarray, points: int) -> np.ndarray:
    """A closed polygon with extra points along its edges, so that whole pixels follow them."""
    closed = np.concatenate([outline, outline[:1]])
    own = np.arange(len(closed))
    places = np.linspace(0, len(closed) - 1, points - len(closed))
    places = np.insert(places, np.searchsorted(places, own), own)
    return np.stack([np.interp(places, own, closed[:, axis]) for axis in (0, 1)], 1).astype(np.float32)


def _drawn(outline: np.ndarray, geometry: Geometry, reduced: int) -> np.ndarray:
    """A polygon filled with its border and reduced: a pixel counts if two of the middle four do."""
    (high, wide), (down, across) = geometry.resized, geometry.offset
    pixels = (outline * np.array((wide, high), np.float32) + np.array((across, down), np.float32)).astype(
        np.int32
    )
    canvas = Image.new("L", geometry.input_size[::-1])
    ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for x, y in pixels], fill=1, outline=1)
    mask = np.asarray(canvas)
    if reduced == 1:
        return mask.astype(bool)
    first = reduced // 2 - 1
    rows, columns = (length // reduced * reduced for length in mask.shape)
    mask = mask[:rows, :columns]
    middle = [mask[a::reduced, b::reduced] for a in (first, first + 1) for b in (first, first + 1)]
    counted: np.ndarray = np.sum(middle, axis=0) >= 2
    return counted


def network_masks(
    prototypes: np.ndarray, weights: np.ndarray, boxes: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Masks of a segmentation head at the resolution of its prototypes, each within its box.

    Args:
        prototypes: float32 [M, h, w].
        weights: float32 [n, M].
        boxes: x1, y1, x2, y2 in pixels of the tensor, float32 [n, 4].
        size: Height and width of the tensor.

    Returns:
        bool [n, h, w].
    """
    channels, high, wide = prototypes.shape
    logits = (weights @ prototypes.reshape(channels, -1)).reshape(-1, high, wide)
    scaled = boxes * np.array((wide / size[1], high / size[0]) * 2, np.float32)
    x, y = np.arange(wide, dtype=np.float32), np.arange(high, dtype=np.float32)
    columns = (x >= scaled[:, :1]) & (x < scaled[:, 2:3])
    rows = (y >= scaled[:, 1:2]) & (y < scaled[:, 3:4])
    masks: np.ndarray = (logits > 0) & rows[:, :, None] & columns[:, None, :]
    return masks


def mask_overlaps(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Intersection over union of masks, bool [m, h, w] and [n, h, w] to float32 [m, n]."""
    pixels = wanted.shape[1] * wanted.shape[2]
    first = wanted.reshape(len(wanted), pixels).astype(np.float32)
    second = found.reshape(len(found), pixels).astype(np.float32)
    shared = first @ second.T
    union = first.sum(1)[:, None] + second.sum(1)[None] - shared
    overlaps: np.ndarray = shared / (union + _EPS)
    return overlaps
