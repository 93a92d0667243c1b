"""The proof: the checkpoint in torch against the ONNX file in an engine.

Every output group is compared against its own largest value, so that box coordinates in the
hundreds cannot hide an error in scores below one. Inputs are a real photo and noise at several
batches and, where the file is dynamic, several sizes including ones far from the traced size. Where
float32 cannot tell on noise, float64 decides (``proof/float64.py``), and pictures of the same shape are
compared as strictly as ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec, ParityRecord
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.runner import Runner

from deploykit_exporters.families.base import OutputGroup
from deploykit_exporters.proof.cases import PICTURE, Case, image_case, proof_cases, stand_ins
from deploykit_exporters.proof.float64 import LOOSEST, MULTIPLE, Float64Reference, Outputs

__all__ = ["FP32_TOLERANCE", "Case", "compare", "image_case", "looser", "proof_cases", "prove"]

FP32_TOLERANCE = 1e-4
"""Largest difference allowed, as a share of the largest value of the output group."""

_SCORE_FLOOR = 0.01
"""Scale of the scores of an end-to-end head where all of them are tiny; see ``OutputGroup.floor``."""

_CUT_MARGIN = 1e-5
"""Scores this close to that of the last place may fall on either side of top-k."""

_CUT_SHARE = 1e-3
"""The same as a share of the best score, where all are smaller than that."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one output group of one case is off: absolute, relative to the group's scale, and
    the share of inputs whose best class agrees, and the number of an end-to-end head's rows compared."""

    max_abs: float = 0.0
    max_rel: float = 0.0
    top1: float = 1.0
    rows: int = 0


def looser(spec: ModelSpec, float16: int = 100) -> int:
    """How many times as far as a float32 file that of a spec may be off, where a float16 file may so far."""
    return float16 if spec.precision is not None and spec.precision.compute == "fp16" else 1


def prove(
    reference: Runner,
    candidate: Runner,
    groups: Sequence[OutputGroup],
    cases: Sequence[Case],
    *,
    tolerance: float = FP32_TOLERANCE,
    exact: Float64Reference | None = None,
    count: Callable[[int, int], None] = lambda _done, _total: None,
) -> ParityRecord:
    """Compare two runners on every case.

    Args:
        reference, candidate: The checkpoint, and the file in an engine.
        groups: What is compared, and how.
        cases: The inputs.
        tolerance: Largest difference allowed, as a share of the scale.
        exact: The checkpoint in float64, which decides where float32 is beyond the tolerance; None: then
            the candidate is.
        count: Called with the number of cases that are done, and of all.

    Raises:
        ParityError: a group is beyond the tolerance, an output is not finite where the reference
            is, or shapes differ; the message names the worst case.
    """
    worst, compared, decisions, rows = Difference(), list[Case](), list[str](), 0
    waiting = list(cases)
    for done, case in enumerate(waiting):
        count(done, len(waiting))
        expected = reference.infer({reference.spec.input.name: case.images})
        found = candidate.infer({candidate.spec.input.name: case.images})
        offs = {group: _off(expected, found, group) for group in groups}
        far = [group for group, off in offs.items() if not off.max_rel <= tolerance]
        if not far:
            worst = reduce(_worse, offs.values(), worst)
            compared.append(case)
            rows += sum(off.rows for off in offs.values()) if case.natural else 0
            continue
        if exact is None:
            raise _beyond(far[0], offs[far[0]], case, tolerance)
        verdict = _by_float64(exact, case, found, groups, tolerance)
        decisions.append(verdict.said)
        if verdict.compared:
            worst = _worse(worst, verdict.worst)
            compared.append(case)
            rows += verdict.worst.rows
        if not (verdict.compared and case.natural) and not case.softened and case.name != PICTURE:
            waiting += stand_ins(case, reference.spec)
    _check_compared(waiting, compared, tolerance)
    _check_rows(rows, groups)
    return ParityRecord(
        max_abs=worst.max_abs,
        max_rel=worst.max_rel,
        top1=worst.top1,
        tolerance=tolerance,
        shapes=tuple(dict.fromkeys(case.shape for case in compared)),
        inputs=tuple(dict.fromkeys(case.name for case in compared)),
        reference=reference.placement().title,
        engine=candidate.placement().title,
        precision="; ".join(decisions),
        detections=rows,
    )


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """What float64 says of a case, in a sentence: whether it could tell, and the difference of a picture."""

    said: str
    compared: bool = True
    worst: Difference = Difference()


def _by_float64(
    exact: Float64Reference, case: Case, found: Outputs, groups: Sequence[OutputGroup], tolerance: float
) -> _Verdict:
    """Judge a case on which two float32 implementations differ by more than the tolerance.

    Raises:
        ParityError: the file is further from float64 than a float32 file may be.
    """
    wanted = exact.exact(case.images)
    spread = dict.fromkeys(groups, 0.0)
    for each in exact.float32(case.images):
        spread = {group: max(own, _off(wanted, each, group).max_rel) for group, own in spread.items()}
    own = max(spread.values())
    offs = {group: _off(wanted, found, group) for group in groups}
    beyond = [
        (group, off, allowed)
        for group, off in offs.items()
        if not off.max_rel
        <= (allowed := tolerance if case.natural else max(tolerance, MULTIPLE * spread[group]))
    ]
    useless = MULTIPLE * own > (tolerance if case.natural else LOOSEST) or not math.isfinite(own)
    if useless and (beyond or not case.natural):
        return _Verdict(
            said=f"{case.title} left out, float32 itself is {own:.1e} from float64", compared=False
        )
    for group, off, allowed in beyond:
        raise _beyond(group, off, case, allowed, float32=spread[group])
    far = max(off.max_rel for off in offs.values())
    return _Verdict(
        said=f"{case.title} against float64, from which the file is {far:.1e} and float32 itself {own:.1e}",
        worst=reduce(_worse, offs.values()) if case.natural else Difference(),
    )


def _check_compared(cases: Sequence[Case], compared: Sequence[Case], tolerance: float) -> None:
    """Every shape needs a picture on which float32 can tell.

    Raises:
        ParityError: a shape has none.
    """
    proven = {case.shape for case in compared if case.natural}
    strict = {case.shape for case in cases if case.natural}
    for shape in sorted(strict - proven):
        raise ParityError(
            f"Nothing can be proven about this network at {shape}: on every picture, down to an eighth of "
            f"its contrast, float32 itself is off by more than {tolerance:.0e} from float64, and two engines "
            "that are both correct give different answers.",
            hint="Its activations explode: check the training, or export an earlier checkpoint.",
        )


def _check_rows(rows: int, groups: Sequence[OutputGroup]) -> None:
    """An end-to-end head gives rows in the order of their scores; among equals there is nothing to compare.

    Raises:
        ParityError: it has such a head, and none of its rows could be compared.
    """
    if not rows and any(group.kind == "detections" for group in groups):
        raise ParityError(
            "Nothing is proven: on every picture all detections of the end-to-end head have the same score, "
            "so that no box could be compared.",
            hint="Its head was not trained, or its scores are lost: export an earlier checkpoint.",
        )


def _off(expected: Outputs, found: Outputs, group: OutputGroup) -> Difference:
    return compare(expected[group.output], found[group.output], group)


def _beyond(
    group: OutputGroup, off: Difference, case: Case, allowed: float, *, float32: float | None = None
) -> ParityError:
    against = "" if float32 is None else f" from the checkpoint in float64 (float32 itself: {float32:.1e})"
    return ParityError(
        f"{group.output} of the ONNX file is off by {off.max_rel:.2e} of its scale "
        f"({off.max_abs:.2e} absolute){against} on {case.title}; allowed is {allowed:.0e}.",
        hint="The file does not give this checkpoint's answers: do not deploy it. A new export "
        "with another --opset or a fixed size may give them; please report the checkpoint's origin.",
    )


def _worse(a: Difference, b: Difference) -> Difference:
    return Difference(
        max_abs=max(a.max_abs, b.max_abs),
        max_rel=max(a.max_rel, b.max_rel),
        top1=min(a.top1, b.top1),
        rows=a.rows + b.rows,
    )


def compare(expected: np.ndarray, found: np.ndarray, group: OutputGroup) -> Difference:
    """Compare one output group.

    Args:
        expected, found: The whole output from the reference and from the candidate.
        group: The slice and the way to compare it.
    """
    if expected.shape != found.shape:
        raise ParityError(f"{group.output} has shape {found.shape}, the checkpoint gives {expected.shape}.")
    if group.kind == "detections":
        return _compare_detections(expected, found)
    if group.axis is not None:
        index = (slice(None),) * group.axis + (slice(group.start, group.stop),)
        expected, found = expected[index], found[index]
    own = difference(expected, found, group.floor)
    if group.kind == "scores" and expected.shape[group.axis or 1] > 1:
        axis = group.axis or 1
        agree = expected.argmax(axis) == found.argmax(axis)
        return Difference(max_abs=own.max_abs, max_rel=own.max_rel, top1=float(agree.mean()))
    return own


def difference(expected: np.ndarray, found: np.ndarray, floor: float = 0.0) -> Difference:
    if expected.size == 0:
        return Difference()
    expected, found = np.atleast_1d(expected), np.atleast_1d(found)  # numbers without an axis
    with np.errstate(invalid="ignore"):
        gap = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    # An infinity or NaN that both give in the same place is agreement; anything else of the kind is not.
    gap[(expected == found) | (np.isnan(expected) & np.isnan(found))] = 0.0
    max_abs = float(gap.max()) if np.isfinite(gap).all() else float("inf")
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(floor, float(finite.max()) if finite.size else 0.0)
    return Difference(
        max_abs=max_abs, max_rel=max_abs / scale if scale else (0.0 if max_abs == 0 else float("inf"))
    )


def _compare_detections(expected: np.ndarray, found: np.ndarray) -> Difference:
    """Rows [N, K, 6 + extra] of an end-to-end head: xyxy, score, class, extra.

    Rows are matched by content, because equal scores may come in any order. A row may be missing
    only if its score is that of the last place, where top-k cuts between equals.
    """
    worst = Difference()
    for want, have in zip(expected, found, strict=True):
        margin = min(_CUT_MARGIN, _CUT_SHARE * float(want[:, 4].max()))
        rows = want[want[:, 4] > want[:, 4].min() + margin]
        if not len(rows):
            worst = _worse(worst, difference(np.sort(want[:, 4]), np.sort(have[:, 4]), _SCORE_FLOOR))
            continue
        matched = have[_match_rows(rows, have)]
        for start, stop, floor in ((0, 4, 0.0), (4, 5, _SCORE_FLOOR), (6, None, 0.0)):
            worst = _worse(worst, difference(rows[:, start:stop], matched[:, start:stop], floor))
        agree = float((rows[:, 5] == matched[:, 5]).mean())
        worst = _worse(worst, Difference(top1=agree, rows=len(rows)))
        if (rows[:, 5] != matched[:, 5]).any():
            return Difference(max_abs=float("inf"), max_rel=float("inf"), top1=worst.top1)
    return worst


def _match_rows(rows: np.ndarray, have: np.ndarray) -> np.ndarray:
    """Index of the row of ``have`` nearest to each of ``rows``; a different class is far away."""
    scale = max(float(np.abs(rows[:, :4]).max()), 1.0)
    distance = np.abs(rows[:, None, :4] - have[None, :, :4]).max(2) / scale
    distance += np.abs(rows[:, None, 4] - have[None, :, 4])
    distance += rows[:, None, 5] != have[None, :, 5]
    return np.asarray(distance.argmin(1))
