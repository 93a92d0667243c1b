"""Two models on the same pictures: where they agree, and whether their difference may be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from deploykit.evaluation.scores.bootstrap import map_interval
from deploykit.evaluation.scores.confusion import CONFIDENCE
from deploykit.evaluation.scores.records import Record

__all__ = ["compared_classifiers", "compared_detectors", "mcnemar"]


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact test (https://doi.org/10.1007/BF02295996): the two-sided probability of a difference
    at least this uneven if both models were equally good.

    Args:
        only_first: Pictures that only the first model gets right.
        only_second: The same for the second.

    >>> mcnemar(5, 5)
    1.0
    >>> round(mcnemar(1, 9), 4)
    0.0215
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    if count == 0:
        return 1.0
    # Logarithms: 2 ** 2000 is beyond float64.
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(fewer + 1)
    ]
    tail = math.fsum(math.exp(each - count * math.log(2)) for each in logs)
    return min(1.0, 2 * tail)


def compared_classifiers(first: Mapping[int, Record], second: Mapping[int, Record]) -> dict[str, Any]:
    """Compare two classifiers.

    Args:
        first, second: Records by place of the sample; only pictures that both have answered count.

    Returns:
        Counts, ``agreement`` (the same first class), ``p`` of McNemar's test, and ``differing``: the places
        of the pictures on which they differ, those first where one of the two is right.
    """
    places = sorted(first.keys() & second.keys())
    a = np.array([first[place]["top"][0, 0] for place in places])
    b = np.array([second[place]["top"][0, 0] for place in places])
    truth = np.array([first[place]["truth"][0] for place in places])
    right_a, right_b = a == truth, b == truth
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differing = [(right_a[n] == right_b[n], place) for n, place in enumerate(places) if a[n] != b[n]]
    return {
        "images": len(places),
        "agreement": float((a == b).mean()) if places else 1.0,
        "both_right": int((right_a & right_b).sum()),
        "only_first_right": only_a,
        "only_second_right": only_b,
        "both_wrong": int((~right_a & ~right_b).sum()),
        "top1_difference": float(right_b.mean() - right_a.mean()) if places else 0.0,
        "mcnemar_p": mcnemar(only_a, only_b),
        "differing": [place for _, place in sorted(differing)],
    }


def compared_detectors(
    first: Mapping[int, Record], second: Mapping[int, Record], *, seed: int, resamples: int
) -> dict[str, Any]:
    """Compare two detectors.

    Args:
        first, second: As above.
        seed, resamples: See ``map_interval``.

    Returns:
        ``agreement`` (the share of pictures with the same objects found and missed at ``CONFIDENCE``), the
        difference of mAP50-95 with its interval for boxes, masks and keypoints, and ``differing``: the places
        of the pictures on which they differ, the most different first.
    """
    places = sorted(first.keys() & second.keys())
    wrong = {place: (_mistakes(first[place]), _mistakes(second[place])) for place in places}
    unlike = {place: _unlike(first[place], second[place]) for place in places}
    differing = sorted((place for place in places if unlike[place]), key=lambda place: -unlike[place])
    parts = [part for part in ("boxes", "masks", "keypoints") if places and part in first[places[0]]]
    pairs = [[side[place] for place in places] for side in (first, second)]
    return {
        "images": len(places),
        "agreement": 1 - len(differing) / len(places) if places else 1.0,
        "better_first": sum(a < b for a, b in wrong.values()),
        "better_second": sum(b < a for a, b in wrong.values()),
        "confidence": CONFIDENCE,
        "map_difference": {
            part: map_interval(pairs[0], pairs[1], part, seed=seed, resamples=resamples) for part in parts
        },
        "differing": differing,
    }


def _mistakes(record: Record) -> int:
    """Missed objects, and detections without an object or of another class."""
    pairs = record["confused"]
    return int((pairs[:, 0] != pairs[:, 1]).sum())


def _unlike(first: Record, second: Record) -> int:
    """The number of findings that only one of the two has."""
    a, b = (sorted(map(tuple, record["confused"].tolist())) for record in (first, second))
    shared = 0
    left = list(b)
    for pair in a:
        if pair in left:
            left.remove(pair)
            shared += 1
    return len(a) + len(b) - 2 * shared
