"""Matches, average precision, precision and recall, as Ultralytics' ``val`` counts them.

A detection is right at a threshold if, among the objects that no better detection has claimed, the best one
overlaps it by at least that threshold. Average precision is the area below the envelope of precision over
recall, at 101 recalls, by the trapezoidal rule. Precision and recall are those at the confidence of the
best mean F1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["THRESHOLDS", "ClassCurves", "class_curves", "match"]

THRESHOLDS = np.linspace(0.5, 0.95, 10).astype(np.float32)
"""Overlaps from which a detection is right."""

_RECALLS = np.linspace(0, 1, 101)
_CONFIDENCES = np.linspace(0, 1, 1000)
_TINY = 1e-16


def match(overlaps: np.ndarray, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which detections are right.

    Args:
        overlaps: float32 [m, n], of each object with each detection; detections come best first.
        found: Class of each detection [n].
        wanted: Class of each object [m].

    Returns:
        bool [n, 10], for each of ``THRESHOLDS``.
    """
    right = np.zeros((len(found), len(THRESHOLDS)), bool)
    if not (len(found) and len(wanted)):
        return right
    same = np.where(wanted[:, None] == found[None], overlaps, 0).astype(np.float32)
    free = np.ones((len(wanted), len(THRESHOLDS)), bool)
    columns = np.arange(len(THRESHOLDS))
    for place in np.flatnonzero(same.max(0) >= THRESHOLDS[0]):
        left = np.where(free, same[:, place, None], 0)
        best = left.argmax(0)
        right[place] = left[best, columns] >= THRESHOLDS
        free[best[right[place]], columns[right[place]]] = False
    return right


@dataclass(frozen=True, kw_only=True)
class ClassCurves:
    """The measurements for each class that has objects.

    Attributes:
        class_ids: int64 [k].
        objects: Number of objects per class, int64 [k].
        average: Average precision, [k, 10], at each of ``THRESHOLDS``.
        precision, recall: [k], at ``confidence``.
        confidence: Where the mean F1 of the classes, smoothed, is highest.
        envelope: Precision at overlap 0.5 over 101 recalls, [k, 101].
    """

    class_ids: np.ndarray
    objects: np.ndarray
    average: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    confidence: float
    envelope: np.ndarray

    def means(self) -> dict[str, float]:
        """Means over the classes; 0 if there are no objects."""
        if not len(self.class_ids):
            return dict.fromkeys(("map", "map50", "map75", "precision", "recall"), 0.0)
        return {
            "map": float(self.average.mean()),
            "map50": float(self.average[:, 0].mean()),
            "map75": float(self.average[:, 5].mean()),
            "precision": float(self.precision.mean()),
            "recall": float(self.recall.mean()),
        }


def class_curves(right: np.ndarray, scores: np.ndarray, found: np.ndarray, wanted: np.ndarray) -> ClassCurves:
    """Measure all classes.

    Args:
        right: bool [n, 10], see ``match``, of the detections of all pictures.
        scores: float32 [n].
        found: Class of each detection [n].
        wanted: Class of each object [m].
    """
    order = np.argsort(-scores, kind="stable")
    right, scores, found = right[order], scores[order], found[order]
    class_ids, objects = np.unique(wanted, return_counts=True)
    average = np.zeros((len(class_ids), len(THRESHOLDS)))
    envelope = np.zeros((len(class_ids), len(_RECALLS)))
    precisions, recalls = (np.zeros((len(class_ids), len(_CONFIDENCES))) for _ in range(2))
    for place, (class_id, count) in enumerate(zip(class_ids, objects, strict=True)):
        of_class = found == class_id
        if not of_class.any():
            continue
        hits = right[of_class].cumsum(0)
        recall = hits / (count + _TINY)
        precision = hits / np.arange(1, len(hits) + 1)[:, None]
        falling = -scores[of_class]
        recalls[place] = np.interp(-_CONFIDENCES, falling, recall[:, 0], left=0)
        precisions[place] = np.interp(-_CONFIDENCES, falling, precision[:, 0], left=1)
        curves = [_envelope(recall[:, step], precision[:, step]) for step in range(len(THRESHOLDS))]
        average[place] = [np.trapezoid(curve, _RECALLS) for curve in curves]
        envelope[place] = curves[0]
    best = _best_confidence(precisions, recalls)
    return ClassCurves(
        class_ids=class_ids.astype(np.int64),
        objects=objects,
        average=average,
        precision=precisions[:, best],
        recall=recalls[:, best],
        confidence=float(_CONFIDENCES[best]),
        envelope=envelope,
    )


def _envelope(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """The highest precision at or beyond each of 101 recalls, [101]."""
    reached = np.concatenate([[0.0], recall, [recall[-1], 1.0]])
    kept = np.concatenate([[1.0], precision, [0.0, 0.0]])
    highest = np.maximum.accumulate(kept[::-1])[::-1]
    curve: np.ndarray = np.interp(_RECALLS, reached, highest)
    return curve


def _best_confidence(precisions: np.ndarray, recalls: np.ndarray) -> int:
    """The confidence at which the mean F1, smoothed over a tenth of the axis, is highest."""
    if not len(precisions):
        return 0
    mean = (2 * precisions * recalls / (precisions + recalls + _TINY)).mean(0)
    width = round(len(mean) * 0.2) // 2 + 1
    edge = np.ones(width // 2)
    padded = np.concatenate([edge * mean[0], mean, edge * mean[-1]])
    return int(np.convolve(padded, np.ones(width) / width, mode="valid").argmax())
