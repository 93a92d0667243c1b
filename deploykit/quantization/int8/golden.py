"""Golden cases with tolerances for INT8: the answers stay those of the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.selftest.cases import Case, Kept, cases_from_keys, cases_to_keys
from deploykit_runtimes.selftest.compare import differences, gaps
from deploykit_runtimes.selftest.inputs import feeds_of
from deploykit_runtimes.selftest.scales import relative, scales

__all__ = ["INT8", "renewed"]

INT8 = "int8"
_ABOVE = 2.0
"""How many times as far off as the engines that were measured another one may be."""
_LEAST = 1e-3
"""Share of the scale: a step of 8 bits is larger."""

Shares = tuple[float, ...]


def renewed(spec: ModelSpec, runners: Sequence[Runner]) -> dict[str, str]:
    """The golden cases of an INT8 file.

    A case that an INT8 engine answers otherwise (a box at the threshold, a class that was hardly ahead) can
    show nothing, and is left out.

    Args:
        spec: The contract of the float32 file, with its golden cases.
        runners: The INT8 file on the engines of this machine; the first one is the reference.

    Returns:
        Metadata keys; empty where no case is left.
    """
    cases = cases_from_keys(spec.golden)
    found = [(case, _off(case, spec, runners)) for case in cases]
    usable = [(case, off) for case, off in found if off]
    if not usable:
        return {}
    worst = [
        tuple(max(parts) for parts in zip(*outputs, strict=True))
        for outputs in zip(*(off for _, off in usable), strict=True)
    ]
    kept = []
    for case, _ in usable:
        case = replace(  # noqa: PLW2901
            case, kept=tuple(_with(each, share) for each, share in zip(case.kept, worst, strict=True))
        )
        if all(_passes(case, spec, runner) for runner in runners):
            kept.append(case)
    return cases_to_keys(tuple(kept)) if kept else {}


def _off(case: Case, spec: ModelSpec, runners: Sequence[Runner]) -> list[Shares]:
    """How far each output is off on the worst engine; empty where one cannot be compared."""
    found: list[list[Shares]] = []
    for runner in runners:
        try:
            outputs = runner.infer(feeds_of(case, spec))
        except DeploykitError:
            return []
        found.append([relative(gaps(outputs, kept, spec), kept) for kept in case.kept])
    worst = [tuple(map(max, *each)) if len(each) > 1 else each[0] for each in zip(*found, strict=True)]
    return worst if all(map(math.isfinite, (share for each in worst for share in each))) else []


def _with(kept: Kept, shares: Shares) -> Kept:
    allowed = tuple(
        max(_ABOVE * share, _LEAST) * scale for share, scale in zip(shares, scales(kept), strict=True)
    )
    return replace(kept, tolerances={INT8: allowed})


def _passes(case: Case, spec: ModelSpec, runner: Runner) -> bool:
    outputs = runner.infer(feeds_of(case, spec))
    return all(differences(outputs, kept, spec, INT8).ok for kept in case.kept)
