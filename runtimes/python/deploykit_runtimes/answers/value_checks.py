"""Whether values are what a reading says that was inferred or declared: the proof that other files lack; and
whether scores of any file are numbers.

A wrong reading takes coordinates for scores, and scores for class numbers. Both show in the values.
"""

from __future__ import annotations

import numpy as np

from deploykit_runtimes.contract.readings import name_of
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ModelError

__all__ = ["check_class_scores", "check_numbers", "check_scores", "check_whole"]

_SLACK = 1e-3


def check_scores(scores: np.ndarray, spec: ModelSpec, *, least: float = 0.0) -> None:
    """Refuse scores outside ``least``..1.

    Args:
        scores: float32 of any shape.
        spec: The contract that calls them scores.
        least: The lowest one; -1 where rows may be padded with it.

    Raises:
        ModelError: one is outside, or not a number.
    """
    if not scores.size:
        return
    low, high = float(scores.min()), float(scores.max())
    if not (low >= least - _SLACK and high <= 1 + _SLACK):
        _refuse(spec, f"scores from {low:g} to {high:g}, wanted 0 to 1")


def check_numbers(scores: np.ndarray) -> None:
    """Refuse NaN among the scores of detections: below every threshold, it would count as nothing found.

    Args:
        scores: Floats of any shape.

    Raises:
        ModelError: one is NaN.
    """
    if np.isnan(scores).any():
        raise ModelError(
            "The model's scores hold NaN.",
            hint="Run `deploykit selftest` on it; half precision can overflow.",
        )


def check_whole(numbers: np.ndarray, spec: ModelSpec, what: str) -> None:
    """Refuse numbers of classes or images that are not whole.

    Raises:
        ModelError: one is not.
    """
    odd = np.rint(numbers) != numbers
    if odd.any():
        _refuse(spec, f"a {what} of {float(numbers[odd][0]):g}, wanted a whole number")


def check_class_scores(scores: np.ndarray, spec: ModelSpec) -> None:
    """Refuse class scores [N, C] that are probabilities where logits are wanted, or the other way round.

    Raises:
        ModelError: they are.
    """
    if spec.output.layout == "probabilities":
        check_scores(scores, spec)
    elif spec.output.activation == "softmax" and scores.shape[1] > 1 and len(scores):
        sums = scores.sum(1, dtype=np.float64)
        if float(scores.min()) >= 0 and float(np.abs(sums - 1).max()) < _SLACK:
            _refuse(spec, "scores that add up to 1, which are probabilities")


def _refuse(spec: ModelSpec, found: str) -> None:
    name = name_of(spec)
    raise ModelError(
        f"The model's outputs are not what {name} means: found {found}.",
        hint="If they mean something else, say it: --outputs NAME.",
    )
