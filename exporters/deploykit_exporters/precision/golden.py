"""Golden cases of a float16 file: the checkpoint's answers stay, and the tolerances are measured anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.selftest.cases import Kept, cases_from_keys
from deploykit_runtimes.selftest.inputs import feeds_of
from deploykit_runtimes.selftest.renewed import renewed_keys
from deploykit_runtimes.selftest.scales import scales

from deploykit_exporters.precision.sessions import outputs_of

if TYPE_CHECKING:
    import onnx

__all__ = ["with_fp16_tolerances"]

_ABOVE = 4.0
"""How many times as far as what was measured an engine may be off, as at export."""
_BFLOAT16 = 8.0
_LEAST = 1e-4
"""Share of the scale below which float16 itself cannot be told."""


def with_fp16_tolerances(spec: ModelSpec, rounded: onnx.ModelProto) -> Mapping[str, str]:
    """The metadata of the golden cases, for a file whose weights are float16.

    A file in float16 is as far off in an engine that computes in float32: it has no tolerances for float32
    and TF32, and such engines are judged by those of float16.

    Args:
        spec: The contract of the float32 file, with its golden cases.
        rounded: The float16 graph as float32 nodes that round; its answers say what float16 costs.

    Returns:
        Nothing where the file has no golden cases, or none on which float16 gives the same objects.
    """
    cases = cases_from_keys(spec.golden)
    if not cases:
        return {}
    answers = outputs_of(rounded, (feeds_of(case, spec) for case in cases))
    return renewed_keys(cases, [(outputs,) for outputs in answers], spec, _tolerances, "fp16")


def _tolerances(kept: Kept, worst: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
    allowed = {}
    for precision, times in (("fp16", _ABOVE), ("bf16", _ABOVE * _BFLOAT16)):
        shares = [times * max(share, _LEAST) for share in worst]
        if all(map(math.isfinite, shares)):
            allowed[precision] = tuple(
                share * scale for share, scale in zip(shares, scales(kept), strict=True)
            )
    return allowed
