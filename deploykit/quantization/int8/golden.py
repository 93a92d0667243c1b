"""Golden cases with tolerances for INT8: the answers stay those of the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.selftest.cases import Case, Kept, cases_from_keys
from deploykit_runtimes.selftest.inputs import feeds_of
from deploykit_runtimes.selftest.renewed import renewed_keys
from deploykit_runtimes.selftest.scales import scales

__all__ = ["INT8", "renewed"]

INT8 = "int8"
_ABOVE = 2.0
"""How many times as far off as the engines that were measured another one may be."""
_LEAST = 1e-3
"""Share of the scale: a step of 8 bits is larger."""


def renewed(spec: ModelSpec, runners: Sequence[Runner]) -> dict[str, str]:
    """The golden cases of an INT8 file.

    Args:
        spec: The contract of the float32 file, with its golden cases.
        runners: The INT8 file on the engines of this machine.

    Returns:
        Metadata keys; empty if no case is left.
    """
    cases = cases_from_keys(spec.golden)
    answers = [_answers(case, spec, runners) for case in cases]
    return renewed_keys(cases, answers, spec, _tolerances, INT8)


def _answers(case: Case, spec: ModelSpec, runners: Sequence[Runner]) -> tuple[Mapping[str, np.ndarray], ...]:
    """The answers of each engine; empty if one of them cannot answer."""
    try:
        return tuple(runner.infer(feeds_of(case, spec)) for runner in runners)
    except DeploykitError:
        return ()


def _tolerances(kept: Kept, shares: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
    pairs = zip(shares, scales(kept), strict=True)
    return {INT8: tuple(max(_ABOVE * share, _LEAST) * scale for share, scale in pairs)}
