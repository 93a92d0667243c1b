"""Corners of rotated boxes as centre, sides and angle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["smallest_rectangles"]


def smallest_rectangles(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """The rectangle of least area around each polygon.

    One of its sides lies along an edge of the convex hull.

    Args:
        outlines: Each float32 [k, 2], k > 2.

    Returns:
        Centre x, centre y, width, height, angle in radians, float32 [n, 5].
    """
    boxes = [_smallest(_hull(outline.astype(np.float64))) for outline in outlines]
    return np.array(boxes, np.float32).reshape(-1, 5)


def _hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull, in order (Andrew's monotone chain)."""
    ordered = np.unique(points, axis=0)  # sorted by x, then y
    if len(ordered) < 3:
        return ordered
    chains = []
    for run in (ordered, ordered[::-1]):
        chain: list[np.ndarray] = []
        for point in run:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chains += chain[:-1]
    return np.array(chains)


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _smallest(hull: np.ndarray) -> tuple[float, float, float, float, float]:
    edges = np.roll(hull, -1, 0) - hull
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    best = (np.inf, 0.0, 0.0, 0.0, 0.0, 0.0)
    for angle in angles.tolist():
        cos, sin = np.cos(angle), np.sin(angle)
        turned = hull @ np.array([[cos, -sin], [sin, cos]])
        low, high = turned.min(0), turned.max(0)
        width, height = high - low
        if width * height < best[0]:
            x, y = (low + high) / 2
            best = (width * height, x * cos - y * sin, x * sin + y * cos, width, height, angle)
    return best[1:]
