"""Top-1, top-5, each class and the confusion of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from deploykit_runtimes.answers.results import Classification
from deploykit_runtimes.contract.spec import ModelSpec

from deploykit.evaluation.scores.confusion import confusion_matrix
from deploykit.evaluation.scores.records import Record

__all__ = ["TOP", "classification_record", "classification_scores", "shown_classes"]

TOP = 5


def classification_record(answer: Classification, truth: int) -> Record:
    """What one picture contributes: ``top`` int32 [1, 5], padded with -1, the ``score`` of the first, and
    ``truth``.
    """
    numbers = [each.class_id for each in answer.top[:TOP]]
    numbers += [-1] * (TOP - len(numbers))
    return {
        "top": np.array([numbers], np.int32),
        "score": np.array([answer.top[0].score], np.float32),
        "truth": np.array([truth], np.int32),
    }


def classification_scores(records: Sequence[Record], spec: ModelSpec) -> dict[str, Any]:
    """Compute the numbers.

    Args:
        records: Of the pictures that could be read.
        spec: The model.
    """
    top = np.concatenate([record["top"] for record in records])
    truth = np.concatenate([record["truth"] for record in records])
    first = top[:, 0] == truth
    among = (top == truth[:, None]).any(1)
    names = shown_classes(spec, truth, top[:, 0])
    size = max(len(names), int(max(truth.max(), top[:, 0].max())) + 1)
    matrix = confusion_matrix(np.stack([top[:, 0], truth], 1), size)
    classes = []
    for class_id in np.unique(truth):
        of_class, found = truth == class_id, int((top[:, 0] == class_id).sum())
        right = int((first & of_class).sum())
        classes.append(
            {
                "class_id": int(class_id),
                "name": spec.class_name(int(class_id)),
                "images": int(of_class.sum()),
                "top1": right / int(of_class.sum()),
                "precision": right / found if found else 0.0,
            }
        )
    answered = (top >= 0).sum(1).max()
    classes_known = spec.num_classes or size
    return {
        "images": len(truth),
        "top1": float(first.mean()),
        # A graph that gives fewer than five classes does not say which the fifth is.
        "top5": float(among.mean()) if answered >= min(TOP, classes_known) else None,
        "right": int(first.sum()),
        "classes": classes,
        "confusion": {"labels": list(names[:size]), "matrix": matrix.tolist()},
    }


def shown_classes(spec: ModelSpec, *numbers: np.ndarray) -> tuple[str, ...]:
    """The names of all classes, also if the model does not give their number."""
    most = max((int(each.max(initial=-1)) for each in numbers), default=-1) + 1
    return tuple(spec.class_name(number) for number in range(max(spec.num_classes, most)))
