"""Golden cases for a file of a lower precision: the answers stay, the tolerances are measured again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.selftest.cases import Case, Kept, cases_to_keys
from deploykit_runtimes.selftest.compare import differences, gaps
from deploykit_runtimes.selftest.scales import relative

__all__ = ["renewed_keys"]

Outputs = Mapping[str, np.ndarray]


def renewed_keys(
    cases: Sequence[Case],
    answers: Sequence[Sequence[Outputs]],
    spec: ModelSpec,
    tolerances: Callable[[Kept, tuple[float, ...]], Mapping[str, tuple[float, ...]]],
    precision: str,
) -> dict[str, str]:
    """The metadata of the cases.

    A case that is answered otherwise (a box at the threshold, a class that was hardly ahead) can show
    nothing, and is left out.

    Args:
        cases: The golden cases of the float32 file.
        answers: For each case, the outputs of the engines that ran it; none: it cannot be compared.
        spec: The contract of the file.
        tolerances: Of what is kept of an output, and by which shares of its scales the worst engine is off on
            the worst case: the largest differences by precision.
        precision: The one by which the answers are judged.

    Returns:
        Nothing where no case is left.
    """
    off = [_off(case, outputs, spec) for case, outputs in zip(cases, answers, strict=True)]
    usable = [index for index, shares in enumerate(off) if shares]
    if not usable:
        return {}
    worst = _largest([off[index] for index in usable])
    left = []
    for index in usable:
        kept = tuple(
            replace(each, tolerances=tolerances(each, shares))
            for each, shares in zip(cases[index].kept, worst, strict=True)
        )
        if all(differences(outputs, each, spec, precision).ok for outputs in answers[index] for each in kept):
            left.append(replace(cases[index], kept=kept))
    return cases_to_keys(tuple(left)) if left else {}


def _off(case: Case, answers: Sequence[Outputs], spec: ModelSpec) -> list[tuple[float, ...]]:
    """How far each output is off on the worst engine; empty where one cannot be compared."""
    found = [[relative(gaps(outputs, kept, spec), kept) for kept in case.kept] for outputs in answers]
    worst = _largest(found) if found else []
    return worst if all(math.isfinite(share) for each in worst for share in each) else []


def _largest(found: Sequence[Sequence[tuple[float, ...]]]) -> list[tuple[float, ...]]:
    return [tuple(max(parts) for parts in zip(*outputs, strict=True)) for outputs in zip(*found, strict=True)]
