"""Non-maximum suppression, of upright and of rotated boxes, as the YOLO codes do it."""

from __future__ import annotations

import numpy as np

__all__ = ["box_iou", "nms", "probabilistic_iou", "rotated_nms"]

_BLOCK = 256
# Ultralytics separates the classes by moving each to coordinates of its own, this far apart.
_CLASS_OFFSET = np.float32(7680)


def nms(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray | None, *, iou: float, limit: int
) -> np.ndarray:
    """Greedy suppression of boxes that overlap a better one by more than ``iou``.

    Equal to ``torchvision.ops.nms`` on boxes that Ultralytics has offset by class. The offset stays
    in float32 as there: it costs the coordinates of high class ids some precision, and with it
    decides close calls.

    Args:
        boxes: xyxy, float32 [n, 4].
        scores: float32 [n].
        class_ids: int [n]; boxes of different classes do not suppress each other. None for all.
        iou: Threshold in 0..1.
        limit: Stop after this many.

    Returns:
        Indices of the boxes to keep, best first, int64 [<= limit].
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order].astype(np.float32, copy=False)
    if class_ids is not None:
        boxes = boxes + (class_ids[order].astype(np.float32) * _CLASS_OFFSET)[:, None]
    kept: list[int] = []
    for start in range(0, len(boxes), _BLOCK):
        block = boxes[start : start + _BLOCK]
        alive: np.ndarray = np.ones(len(block), bool)
        if kept:
            alive &= ~(box_iou(boxes[kept], block) > iou).any(0)
        overlaps = box_iou(block, block) > iou
        for index in np.flatnonzero(alive):
            if alive[index]:
                kept.append(start + int(index))
                if len(kept) == limit:
                    return order[kept]
                alive[index:] &= ~overlaps[index, index:]
    return order[kept]


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of xyxy boxes, float32 [n, 4] and [m, 4] to [n, m]; 0 for empty boxes."""
    a, b = first.T[:, :, None], second.T[:, None, :]
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    overlap: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def rotated_nms(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray | None, *, iou: float, limit: int
) -> np.ndarray:
    """Fast NMS (https://arxiv.org/abs/1904.02689) of rotated boxes, as Ultralytics uses it.

    A box falls to any better box that overlaps it, also to one that is suppressed itself.

    Args:
        boxes: x, y, width, height, angle in radians, float32 [n, 5].
        scores, class_ids, iou, limit: See ``nms``.

    Returns:
        Indices of the boxes to keep, best first, int64 [<= limit].
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order].astype(np.float32)
    if class_ids is not None:
        boxes[:, :2] += (class_ids[order].astype(np.float32) * _CLASS_OFFSET)[:, None]
    keep = np.zeros(len(boxes), bool)
    for start in range(0, len(boxes), _BLOCK):
        stop = min(start + _BLOCK, len(boxes))
        overlaps = probabilistic_iou(boxes[:stop], boxes[start:stop]) > iou
        better = np.arange(stop)[:, None] < np.arange(start, stop)
        keep[start:stop] = ~(overlaps & better).any(0)
        if np.count_nonzero(keep) >= limit:
            break
    return order[keep][:limit]


def probabilistic_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 - Hellinger distance of the boxes as Gaussians (https://arxiv.org/abs/2106.06072).

    Rotated boxes [n, 5] and [m, 5] to float32 [n, m].
    """
    eps = np.float32(1e-7)
    x1, y1 = first[:, 0, None], first[:, 1, None]
    x2, y2 = second[None, :, 0], second[None, :, 1]
    a1, b1, c1 = (part[:, None] for part in _covariance(first))
    a2, b2, c2 = (part[None, :] for part in _covariance(second))
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    determinant = a * b - c**2
    mahalanobis = (a * (y1 - y2) ** 2 + b * (x1 - x2) ** 2) / (determinant + eps) / 4
    mahalanobis += c * (x2 - x1) * (y1 - y2) / (determinant + eps) / 2
    volumes = np.sqrt(np.maximum(a1 * b1 - c1**2, 0) * np.maximum(a2 * b2 - c2**2, 0))
    shape = np.log(determinant / (4 * volumes + eps) + eps) / 2
    distance = np.clip(mahalanobis + shape, eps, 100)
    similarity: np.ndarray = 1 - np.sqrt(1 - np.exp(-distance) + eps)
    return similarity


def _covariance(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[[a, c], [c, b]] of the uniform distribution over each rotated box."""
    width, height = boxes[:, 2] ** 2 / 12, boxes[:, 3] ** 2 / 12
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return (
        width * cos**2 + height * sin**2,
        width * sin**2 + height * cos**2,
        (width - height) * cos * sin,
    )
