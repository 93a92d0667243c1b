"""Parts of the contract in words, as several commands print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deploykit.terminal import name

if TYPE_CHECKING:
    from deploykit_runtimes.answers.results import Result
    from deploykit_runtimes.contract.spec import AxisRange, ModelSpec, ParityRecord, PrecisionRecord

__all__ = [
    "answer_text",
    "axis_ranges",
    "class_sample",
    "golden_cases",
    "model_title",
    "parity_lines",
    "precision_lines",
]

_MOST_DETECTIONS = 8
_MOST_CLASSES = 4
_MOST_KEPT = 6


def model_title(spec: ModelSpec) -> str:
    """``efficientnet-lite0 (efficientnet, from lukemelas)``."""
    if spec.inferred and spec.family == "unknown":
        return "a model by another exporter"
    return f"{name(spec.variant)} ({name(spec.family)}, from {name(spec.origin)})"


def class_sample(spec: ModelSpec) -> str:
    """The number of classes and the first names; empty for a model without classes."""
    count = spec.num_classes or len(spec.classes)
    if not count:
        return ""
    if not spec.classes:
        remedy = "" if spec.inferred else " (export with --labels FILE to name them)"
        return f"{count}, names unknown{remedy}"
    more = ", ..." if len(spec.classes) > _MOST_CLASSES else ""
    return f"{count}: {', '.join(map(name, spec.classes[:_MOST_CLASSES]))}{more}"


def axis_ranges(dynamic: Mapping[str, AxisRange]) -> str:
    """``batch 1..64, height 32..1280 in steps of 32``; empty when every axis is fixed."""
    return ", ".join(f"{axis} {dynamic[axis]}" for axis in ("batch", "height", "width") if axis in dynamic)


def parity_lines(parity: ParityRecord | None, task: str) -> list[str]:
    """The proof in a few lines, or one line if there is none."""
    if parity is None:
        return ["none: the file has no record of a comparison with its checkpoint"]
    agreement = f", top-1 agreement {parity.top1:.1%}" if task == "classify" else ""
    allowed = f"(allowed {parity.tolerance:.0e})"
    return [
        f"max abs {parity.max_abs:.1e}, max rel {parity.max_rel:.1e} {allowed}{agreement}",
        f"on {' and '.join(parity.inputs)} at {', '.join(parity.shapes)}",
        f"{parity.reference} against {parity.engine}",
        *(parity.precision.split("; ") if parity.precision else ()),
        *((f"witness: {parity.witness}",) if parity.witness else ()),
        *golden_lines(parity),
        *answer_lines(parity),
    ]


def precision_lines(precision: PrecisionRecord | None) -> list[str]:
    """The precision a file computes in below float32, and its cost; nothing for a float32 file."""
    if precision is None:
        return []
    for_cpus = f", shown for CPUs {' and '.join(precision.cpus)}" if precision.cpus else ""
    target = "any engine" if precision.target == "any" else name(precision.target)
    lines = [f"{precision.compute} for {target}{name(for_cpus)}"]
    if precision.metric:
        images = f"{precision.images} image{'s' if precision.images != 1 else ''}"
        lines.append(
            f"{name(precision.metric)} {precision.accuracy:.4g}, float32 {precision.reference:.4g} "
            f"({images}, at most {precision.budget:.2%} less allowed)"
        )
    if precision.data:
        digest = f", sha256 {name(precision.data_sha256[:12])}" if precision.data_sha256 else ""
        lines.append(f"calibrated on {name(precision.data)}{digest}")
    if precision.method:
        lines.append(name(precision.method))
    if precision.kept:
        shown = "; ".join(map(name, precision.kept[:_MOST_KEPT]))
        more = f" and {len(precision.kept) - _MOST_KEPT} more" if len(precision.kept) > _MOST_KEPT else ""
        lines.append(f"not in {precision.compute}: {shown}{more}")
    return lines


def golden_cases(spec: ModelSpec) -> str:
    """How many golden cases a file carries, from which inputs, and the command that runs them; empty if it
    has none.
    """
    from deploykit_runtimes.selftest.cases import cases_from_keys

    cases = cases_from_keys(spec.golden)
    titles = ", ".join(case.title for case in cases)
    return f"{len(cases)}: {titles}; run them with `deploykit selftest`" if cases else ""


def golden_lines(parity: ParityRecord) -> list[str]:
    """What the comparison with the training process's answers found, or that there were none."""
    if not parity.golden:
        return ["golden answers: none recorded in training (see deploykit record)"]
    whose, _, compared = parity.golden_said.partition(": ")
    return [f"golden answers {parity.golden[:12]} of {whose}", compared]


def answer_lines(parity: ParityRecord) -> list[str]:
    """The comparison from image to answer, for a file with processing inside."""
    counts = _counted(parity)
    if not parity.answers:
        return [f"end-to-end head: {counts} compared on pictures"] if parity.detections else []
    boxes = f", boxes within {parity.answer_box:.2g} px" if parity.answer_box else ""
    return [
        f"whole file, {parity.answers} images to answers: {parity.exact_pixels:.3%} of the pixels exact, "
        f"scores within {parity.answer_score:.1e}{boxes}",
        *([f"{counts} compared"] if counts else ()),
        *([parity.answer_said] if parity.answer_said else ()),
    ]


def _counted(parity: ParityRecord) -> str:
    counts = {"detections": parity.detections, "masks": parity.masks, "keypoints": parity.keypoints}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def answer_text(result: Result) -> str:
    """A result in one line: classes, detections best first, or the shapes of feature maps."""
    from deploykit_runtimes.answers.results import Classification, Features

    if isinstance(result, Classification):
        return ", ".join(f"{name(entry.name)} {entry.score:.3f}" for entry in result.top)
    if isinstance(result, Features):
        maps = zip(result.names, result.maps, strict=True)
        return ", ".join(f"{name(output)} {list(values.shape)}" for output, values in maps)
    if not len(result):
        return "nothing detected"
    shown = zip(result.names[:_MOST_DETECTIONS], result.scores[:_MOST_DETECTIONS], strict=True)
    rest = len(result) - _MOST_DETECTIONS
    text = ", ".join(f"{name(label)} {score:.2f}" for label, score in shown)
    return f"{len(result)} detected: {text}" + (f" and {rest} more" if rest > 0 else "")
