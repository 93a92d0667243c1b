"""Confusion of classes for models with boxes."""

from __future__ import annotations

import numpy as np

__all__ = ["BACKGROUND", "CONFIDENCE", "OVERLAP", "confused", "confusion_matrix"]

BACKGROUND = -1
"""Stands for no object, and for none found."""

CONFIDENCE, OVERLAP = 0.25, 0.45
"""Detections that count, and from which overlap one belongs to an object: those of Ultralytics' matrix."""


def confused(overlaps: np.ndarray, scores: np.ndarray, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What each object of a picture was mistaken for, and what was found where there is no object.

    The better detection claims its object first, regardless of class.

    Args:
        overlaps: float32 [m, n].
        scores, found: Of the detections [n].
        wanted: Class of each object [m].

    Returns:
        int32 [k, 2]: class found, class wanted; either may be ``BACKGROUND``.
    """
    certain = scores > CONFIDENCE
    left, found = overlaps[:, certain].copy(), found[certain]
    claimed = np.full(len(wanted), -1)
    for place in np.argsort(-scores[certain], kind="stable"):
        best = int(left[:, place].argmax()) if len(wanted) else -1
        if best >= 0 and left[best, place] > OVERLAP:
            claimed[best], left[best] = place, 0
    pairs = [
        (int(found[place]) if place >= 0 else BACKGROUND, int(wanted[n])) for n, place in enumerate(claimed)
    ]
    taken = set(claimed[claimed >= 0].tolist())
    pairs += [(int(each), BACKGROUND) for place, each in enumerate(found) if place not in taken]
    return np.array(pairs, np.int32).reshape(-1, 2)


def confusion_matrix(pairs: np.ndarray, size: int) -> np.ndarray:
    """Counts [found, wanted], int64 [size, size], of pairs [k, 2]."""
    matrix = np.zeros((size, size), np.int64)
    np.add.at(matrix, (pairs[:, 0], pairs[:, 1]), 1)
    return matrix
