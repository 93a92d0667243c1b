"""How far an engine's outputs are from what a golden case kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.selftest.bits import positions
from deploykit_runtimes.selftest.cases import Kept, KeptRows, KeptValues
from deploykit_runtimes.selftest.measure import means, rows_of, sliced, upright_gap

__all__ = ["Difference", "differences", "gaps", "largest"]

_NEAR = 2.0
"""Scores this many tolerances from a cut may fall on either side of it."""
_REDUCED = 0.9
"""Share of the answers that must agree below float32, where suppression may fall either way."""

_ANOTHER = 20
"""A coordinate that is off by a larger part than this of the largest one belongs to another object."""

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one output, or a slice of it, is from what was kept.

    Attributes:
        output: Which.
        part: What of it is worst, as a share of its tolerance: ``sample``, ``mean``, ``score``, ``box`` or
            ``extra``.
        found: The largest difference of that.
        allowed: The tolerance.
        scale: The largest value of what was kept of it.
        agreed, answers: How many answers agree (best classes, best boxes, rows), and of how many.
        ok: Whether everything is within its tolerance and the answers agree.
    """

    output: str
    part: str
    found: float
    allowed: float
    scale: float
    agreed: int = 0
    answers: int = 0
    ok: bool = True

    @property
    def share(self) -> float:
        """The difference as a share of the tolerance."""
        return _share(self.found, self.allowed)


def differences(outputs: Outputs, kept: Kept, spec: ModelSpec, precision: str) -> Difference:
    """Judge one output of a case.

    Args:
        outputs: What the engine returned.
        kept: What the checkpoint answered.
        spec: The contract of the model.
        precision: A key of ``kept.tolerances``.
    """
    tolerances = kept.tolerances[precision]
    try:
        if isinstance(kept, KeptValues):
            found, agreed, answers = _of_values(outputs, kept, tolerances)
            names: tuple[str, ...] = ("sample", "mean")
            enough = agreed == answers
            scales: list[float] = [largest(kept.samples), largest(kept.means)]
        else:
            found, agreed, answers = _of_rows(outputs, kept, spec, tolerances)
            names = ("score", "box", "extra")
            enough = agreed >= answers * (1 if precision == "fp32" else _REDUCED)
            scales = [largest(kept.rows[:, 2]), *map(largest, _columns(kept, kept.rows[:, 3:]))]
    except ModelError as error:
        return Difference(
            output=kept.name, part=error.problem, found=np.inf, allowed=0.0, scale=0.0, ok=False
        )
    shares = [_share(each, allowed) for each, allowed in zip(found, tolerances, strict=True)]
    worst = int(np.argmax(shares))
    return Difference(
        output=kept.name,
        part=names[worst],
        found=found[worst],
        allowed=tolerances[worst],
        scale=scales[worst],
        agreed=agreed,
        answers=answers,
        ok=max(shares) <= 1 and enough,
    )


def gaps(outputs: Outputs, kept: Kept, spec: ModelSpec) -> tuple[float, ...]:
    """The largest difference of each part, whatever is allowed; infinite where shapes differ."""
    if isinstance(kept, KeptValues):
        return _of_values(outputs, kept, (np.inf, np.inf))[0]
    return _of_rows(outputs, kept, spec, (0.0, np.inf, np.inf))[0]


def _share(found: float, allowed: float) -> float:
    if not np.isfinite(found):
        return np.inf
    return found / allowed if allowed else (0.0 if found == 0 else np.inf)


def largest(values: np.ndarray) -> float:
    """The largest finite magnitude; 0 where there is none."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0))


def _gap(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference; infinite where one is not finite and the other is not the same."""
    if expected.shape != found.shape:
        return np.inf
    with np.errstate(invalid="ignore"):
        off = np.abs(expected.astype(np.float64) - found)
    off[(expected == found) | (np.isnan(expected) & np.isnan(found))] = 0.0
    off[np.isnan(off)] = np.inf
    return float(off.max(initial=0.0))


def _of_values(
    outputs: Outputs, kept: KeptValues, tolerances: tuple[float, ...]
) -> tuple[tuple[float, ...], int, int]:
    values = sliced(outputs, kept.part)
    flat = values.reshape(-1)
    samples = flat[positions(len(flat), len(kept.samples))] if len(flat) >= len(kept.samples) else flat
    found = _gap(kept.samples, samples), _gap(kept.means, means(values))
    if not kept.part.best:
        return found, 0, 0
    if values.shape[:1] != kept.best.shape:
        return (np.inf, found[1]), 0, len(kept.best)
    rows = values.reshape(len(values), -1)
    agreed = 0
    for row, best, margin in zip(rows, kept.best.tolist(), kept.margins.tolist(), strict=True):
        # Where two are as close as an engine may be off, either may be the best.
        agreed += best < len(row) and (int(row.argmax()) == best or margin <= _NEAR * tolerances[0])
    return found, agreed, len(rows)


def _of_rows(
    outputs: Outputs, kept: KeptRows, spec: ModelSpec, tolerances: tuple[float, ...]
) -> tuple[tuple[float, ...], int, int]:
    """Every row that is clear of the cut must have its like on the other side."""
    per_image, _, box, extra = rows_of(outputs, spec)
    worst, agreed, answers = np.zeros(3), 0, 0
    if (box, extra, len(per_image)) != (kept.box, kept.extra, len(kept.cuts)):
        return (np.inf, np.inf, np.inf), 0, len(kept.rows)
    for image, (rows, cut) in enumerate(zip(per_image, kept.cuts.tolist(), strict=True)):
        wanted = kept.rows[kept.rows[:, 0] == image, 1:].astype(np.float64)
        clear = cut + _NEAR * tolerances[0]
        for one, other in ((wanted, rows), (rows, wanted)):
            for row in one[~(one[:, 1] <= clear)]:  # NaN is clear of it, and has no like
                off = _nearest(row, other, kept)
                answers += 1
                agreed += off is not None
                if off is not None:
                    worst = np.maximum(worst, off)
    worst[1] = max(worst[1], upright_gap(outputs, spec))
    return (float(worst[0]), float(worst[1]), float(worst[2])), agreed, answers


def _nearest(row: np.ndarray, rows: np.ndarray, kept: KeptRows) -> np.ndarray | None:
    """How far a row is from its counterpart: of the same class the one whose box and score are nearest."""
    same = rows[rows[:, 0] == row[0]]
    if not len(same):
        return None
    with np.errstate(invalid="ignore"):
        off = np.abs(same[:, 1:] - row[1:])
    off[np.isnan(off)] = np.inf
    score = off[:, 0]
    boxes, extras = (each.max(1, initial=0.0) for each in _columns(kept, off[:, 1:]))
    size = max(float(np.abs(row[2 : 2 + kept.box]).max(initial=1.0)), 1.0)
    with np.errstate(invalid="ignore"):
        nearest = int(np.argmin(score + boxes / size))
    if boxes[nearest] > size / _ANOTHER:  # another object
        return None
    return np.array([score[nearest], boxes[nearest], extras[nearest]])


def _columns(kept: KeptRows, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rest[:, : kept.box], rest[:, kept.box :]
