"""Whether the difference of two mAPs may be chance: pictures resampled repeatedly, the same for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deploykit.evaluation.scores.average_precision import THRESHOLDS
from deploykit.evaluation.scores.records import Record

__all__ = ["RESAMPLES", "map_interval"]

RESAMPLES = 1000
_RECALLS = np.linspace(0, 1, 101)
_LEVEL = 0.95


def map_interval(
    first: Sequence[Record],
    second: Sequence[Record],
    part: str,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The difference of mAP50-95, second minus first, with a 95 % interval of the paired bootstrap.

    Args:
        first, second: Records of two models for the same pictures.
        part: ``boxes``, ``masks`` or ``keypoints``.
        seed: Seed of the resampling.
        resamples: Number of resamples.

    Returns:
        ``difference``, ``low``, ``high``, ``resamples``.
    """
    if not first:
        return {"difference": 0.0, "low": 0.0, "high": 0.0, "resamples": 0}
    sides = [_Weighted(records, part) for records in (first, second)]
    everything = np.ones(len(first))
    difference = sides[1].mean_precision(everything) - sides[0].mean_precision(everything)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        weights = np.bincount(generator.integers(0, len(first), len(first)), minlength=len(first))
        drawn.append(sides[1].mean_precision(weights) - sides[0].mean_precision(weights))
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return {
        "difference": float(difference),
        "low": float(low),
        "high": float(high),
        "resamples": resamples,
    }


class _Weighted:
    """mAP50-95 with a weight for each picture: how often it was drawn. Detections are sorted once."""

    def __init__(self, records: Sequence[Record], part: str) -> None:
        images = np.repeat(np.arange(len(records)), [len(record["scores"]) for record in records])
        scores = np.concatenate([record["scores"] for record in records])
        order = np.argsort(-scores, kind="stable")
        found = np.concatenate([record["found"] for record in records])[order]
        right = np.concatenate([record[part] for record in records])[order]
        owners = np.repeat(np.arange(len(records)), [len(record["truth"]) for record in records])
        wanted = np.concatenate([record["truth"] for record in records])
        images = images[order]
        self._classes = []
        for class_id in np.unique(wanted):
            of_class = found == class_id
            # What is never right from the last hit on changes nothing.
            hits = np.flatnonzero(right[of_class].any(1))
            last = hits[-1] + 1 if len(hits) else 0
            self._classes.append(
                (
                    right[of_class][:last].astype(np.float64),
                    images[of_class][:last],
                    np.bincount(owners[wanted == class_id], minlength=len(records)),
                )
            )

    def mean_precision(self, weights: np.ndarray) -> float:
        values = []
        for right, images, objects in self._classes:
            count = float(objects @ weights)
            if count:
                values.append(_average_precision(right, weights[images].astype(np.float64), count))
        return float(np.mean(values)) if values else 0.0


def _average_precision(right: np.ndarray, weights: np.ndarray, count: float) -> float:
    if not len(right):
        return 0.0
    hits = (right * weights[:, None]).cumsum(0)
    total = weights.cumsum()
    precision = hits / np.maximum(total, 1e-9)[:, None]
    highest = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = hits / count
    sums = 0.0
    for step in range(len(THRESHOLDS)):
        reached = np.concatenate([[0.0], recall[:, step], [recall[-1, step], 1.0]])
        kept = np.concatenate([highest[:1, step], highest[:, step], [0.0, 0.0]])
        sums += float(np.trapezoid(np.interp(_RECALLS, reached, kept), _RECALLS))
    return sums / len(THRESHOLDS)
