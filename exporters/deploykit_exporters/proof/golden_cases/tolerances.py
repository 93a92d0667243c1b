"""How far an engine may be off a golden case, at each precision: measured, not assumed.

What float32 evaluations differ by among themselves is measured on every case, what lower precisions cost by
emulation (``rounding.py``) on the smallest picture and the smallest noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.selftest.cases import Case, Kept
from deploykit_runtimes.selftest.compare import gaps
from deploykit_runtimes.selftest.scales import relative, scales

from deploykit_exporters.proof.cases import LARGE

if TYPE_CHECKING:
    from deploykit_exporters.proof.golden_cases.rounding import Reduced

__all__ = ["with_tolerances"]

_FP32 = 1e-4
"""Share of the scale that a float32 engine may be off, where float32 itself and TF32 do not say less."""
_ABOVE = 4.0
"""How many times as far as what was measured an engine may be off."""
_BFLOAT16 = 8.0
"""Bfloat16 rounds to 8 bits, float16 to 11."""
_LEAST = 1e-7
"""Share of the scale that float32 cannot tell from nothing."""

Shares = tuple[tuple[float, ...], ...]
"""Of each output of a case each part."""


def with_tolerances(
    cases: Sequence[Case],
    float32: Sequence[Shares],
    spec: ModelSpec,
    emulated: Callable[[Case, Reduced], Mapping[str, np.ndarray]],
) -> tuple[Case, ...]:
    """The cases with what each precision may be off by.

    Args:
        cases: At least one.
        float32: By how much other float32 evaluations differ from each case, as shares of the scales.
        spec: The contract of the file.
        emulated: The outputs of a case as an engine of a lower precision gives them.
    """
    if not cases:
        return ()
    lower = {precision: _worst(cases, precision, spec, emulated) for precision in ("tf32", "fp16")}
    own = _largest_of(float32)
    return tuple(
        replace(
            case,
            kept=tuple(
                replace(
                    kept,
                    tolerances=_tolerances(kept, own[index], {name: of[index] for name, of in lower.items()}),
                )
                for index, kept in enumerate(case.kept)
            ),
        )
        for case in cases
    )


def _worst(
    cases: Sequence[Case],
    precision: Reduced,
    spec: ModelSpec,
    emulated: Callable[[Case, Reduced], Mapping[str, np.ndarray]],
) -> Shares:
    cheapest = sorted(cases, key=lambda case: case.batch * case.height * case.width)
    others = [case for case in cheapest if (case.picture is None) != (cheapest[0].picture is None)]
    chosen = [cheapest[0], *others[:1]]
    if spec.tensor.height * spec.tensor.width > LARGE:
        del chosen[1:]
    found = []
    for case in chosen:
        outputs = emulated(case, precision)
        found.append(tuple(relative(gaps(outputs, kept, spec), kept) for kept in case.kept))
    return _largest_of(found)


def _largest_of(found: Sequence[Shares]) -> Shares:
    return tuple(
        tuple(max(parts) for parts in zip(*output, strict=True)) for output in zip(*found, strict=True)
    )


def _tolerances(
    kept: Kept, own: tuple[float, ...], lower: Mapping[str, tuple[float, ...]]
) -> dict[str, tuple[float, ...]]:
    """Absolute, each precision at least as loose as those before it; none where the network overflows."""
    shares = {
        "fp32": tuple(map(_float32, own, lower["tf32"])),
        "tf32": tuple(_ABOVE * share for share in lower["tf32"]),
        "fp16": tuple(_ABOVE * share for share in lower["fp16"]),
        "bf16": tuple(_ABOVE * _BFLOAT16 * share for share in lower["fp16"]),
    }
    allowed: dict[str, tuple[float, ...]] = {}
    worst = (_LEAST,) * len(own)
    for precision, each in shares.items():
        if all(map(math.isfinite, each)):
            worst = tuple(map(max, worst, each))
            allowed[precision] = tuple(
                share * scale for share, scale in zip(worst, scales(kept), strict=True)
            )
    return allowed


def _float32(own: float, tf32: float) -> float:
    """Half-way, on a logarithmic scale, from what float32 evaluations differ by to what TF32 costs, so that
    neither is taken for the other."""
    noise = max(own, _LEAST)
    between = math.sqrt(noise * tf32) if math.isfinite(tf32) else _FP32
    return max(min(between, _FP32), _ABOVE * noise)
