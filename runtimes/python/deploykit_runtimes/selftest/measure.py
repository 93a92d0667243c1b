"""What is kept of an output: sampled values, means along each axis, rows of answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.selftest.bits import positions, random_numbers
from deploykit_runtimes.selftest.cases import KeptRows, KeptValues, Slice

__all__ = [
    "KEPT_ROWS",
    "ROW_LAYOUTS",
    "SAMPLES",
    "best_of",
    "keep_rows",
    "keep_values",
    "means",
    "rows_of",
    "sliced",
    "upright_gap",
]

SAMPLES = 256
"""Values that are sampled of a slice, unless it is one of many."""
_WHOLE_AXIS, _BINS = 1024, 64
"""Axes of up to this length have a mean for each index, longer ones for this many equal stretches."""
_SMALL = 1e-3
"""Added to probabilities before their logarithm: engines compute the small ones to an absolute precision."""
KEPT_ROWS = 40
"""Rows of answers that are kept of an image, the best ones."""

ROW_LAYOUTS = ("top_k", "detections", "end2end")
"""Layouts whose outputs are answers in the order of their scores."""

_EXTRAS = ("keypoints", "mask_coefficients", "masks")
"""What detections may have besides a box."""

Outputs = Mapping[str, np.ndarray]


def sliced(outputs: Outputs, part: Slice) -> np.ndarray:
    """A slice of the outputs in float64, its logarithm where ``part.log``.

    Raises:
        ModelError: there is no such output, no such slice of it, or it holds no numbers.
    """
    found = outputs.get(part.output)
    if found is None:
        raise ModelError(f"The engine returns {sorted(outputs)}, the golden cases know {part.output!r}.")
    if found.dtype.kind not in "fiub":
        raise ModelError(f"The golden cases want numbers of {part.output}, found another type.")
    if part.axis >= 0:
        if part.axis >= found.ndim or not 0 <= part.start < part.stop <= found.shape[part.axis]:
            raise ModelError(
                f"The golden cases want {part.start}..{part.stop} on axis {part.axis} of {part.output}, "
                f"found the shape {found.shape}."
            )
        found = found.take(range(part.start, part.stop), axis=part.axis)
    values = found.astype(np.float64)
    return _log(values) if part.log else values


def means(values: np.ndarray) -> np.ndarray:
    """The means of a tensor along each axis that is longer than 1, one after the other, float64.

    For an axis of up to 1024 that is a mean for each index; of a longer one for each of 64 equal stretches,
    and the same again with each index multiplied by 1 or -1: plain means are blind to what changes places
    within a stretch. The sign is that of ``random_numbers(1, length)``: -1 where the number is odd.
    """
    found = []
    for axis, length in enumerate(values.shape):
        if length == 1:
            continue
        others = tuple(other for other in range(values.ndim) if other != axis)
        each = values.mean(axis=others)
        if length > _WHOLE_AXIS:
            edges = np.arange(_BINS + 1) * length // _BINS
            signed = each * np.where(random_numbers(1, length) & np.uint64(1), -1.0, 1.0)
            each = np.concatenate([np.add.reduceat(of, edges[:-1]) / np.diff(edges) for of in (each, signed)])
        found.append(each)
    return np.concatenate(found) if found else np.empty(0)


def best_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The flat index of the largest value of each image, int64 [N], and its lead over the next one, [N]."""
    flat = values.reshape(len(values), -1)
    best = flat.argmax(1)
    top = np.partition(flat, -2, axis=1)[:, -2:] if flat.shape[1] > 1 else np.repeat(flat, 2, axis=1)
    return best.astype(np.int64), top[:, 1] - top[:, 0]


def keep_values(outputs: Outputs, part: Slice, samples: int = SAMPLES) -> KeptValues:
    """What a case keeps of a slice of the outputs."""
    values = sliced(outputs, part)
    flat = values.reshape(-1)
    best, margins = best_of(values) if part.best else (np.empty(0, np.int64), np.empty(0))
    return KeptValues(
        part=part,
        samples=flat[positions(len(flat), samples)].astype(np.float32),
        means=means(values).astype(np.float32),
        best=best,
        margins=margins.astype(np.float32),
    )


def keep_rows(outputs: Outputs, spec: ModelSpec) -> KeptRows:
    """What a case keeps of answers: the best rows of each image."""
    per_image, cuts, box, extra = rows_of(outputs, spec)
    kept = []
    for image, rows in enumerate(per_image):
        if len(rows) > KEPT_ROWS:
            cuts[image] = max(cuts[image], rows[KEPT_ROWS - 1, 1])
        best = rows[:KEPT_ROWS]
        kept.append(np.concatenate([np.full((len(best), 1), image), best], axis=1))
    return KeptRows(
        box=box,
        extra=extra,
        rows=np.concatenate(kept).astype(np.float32),
        cuts=np.asarray(cuts, np.float32),
    )


def rows_of(outputs: Outputs, spec: ModelSpec) -> tuple[list[np.ndarray], list[float], int, int]:
    """The answers of each image.

    Returns:
        Of each image float64 [R, 2 + box + extra]: class, logarithm of the score, the rest, best first; of
        each image the logarithm of the score below which rows may be missing; and the two numbers of columns.

    Raises:
        ModelError: an output that the layout has is not there, or of another shape.
    """
    layout = spec.output.layout
    try:
        found = _read_rows(outputs, spec)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        shapes = {name: value.shape for name, value in outputs.items()}
        raise ModelError(f"The outputs are not those of the layout {layout}: {shapes}.") from error
    return found


def upright_gap(outputs: Outputs, spec: ModelSpec) -> float:
    """How far ``boxes`` of rotated detections are from the upright boxes around ``rotated_boxes``, which rows
    hold; 0 elsewhere.

    Raises:
        ModelError: see ``rows_of``.
    """
    upright = outputs.get("boxes")
    if spec.task != "obb" or spec.output.layout != "detections" or upright is None:
        return 0.0
    per_image, _, _, _ = rows_of(outputs, spec)
    if upright.shape != (*outputs["scores"].shape, 4):
        return np.inf
    worst = 0.0
    for rows, boxes in zip(per_image, upright.astype(np.float64), strict=True):
        centre, half = rows[:, 2:4], rows[:, 4:6] / 2
        cos, sin = np.abs(np.cos(rows[:, 6:7])), np.abs(np.sin(rows[:, 6:7]))
        reach = half[:, :1] * np.hstack([cos, sin]) + half[:, 1:] * np.hstack([sin, cos])
        off = np.abs(np.hstack([centre - reach, centre + reach]) - boxes[: len(rows)])
        worst = max(worst, float(np.where(np.isfinite(off), off, np.inf).max(initial=0.0)))
    return worst


def _read_rows(outputs: Outputs, spec: ModelSpec) -> tuple[list[np.ndarray], list[float], int, int]:
    if spec.output.layout == "top_k":
        found = _top_k(outputs, spec)
    elif spec.output.layout == "end2end":
        found = _end2end(outputs[spec.output.names[0]])
    else:
        found = _detections(outputs, spec)
    per_image, _, box, extra = found
    if any(rows.shape[1:] != (2 + box + extra,) for rows in per_image):
        raise ValueError("rows of another width")
    return found


def _log(scores: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.log(scores.astype(np.float64) + _SMALL))


def _top_k(outputs: Outputs, spec: ModelSpec) -> tuple[list[np.ndarray], list[float], int, int]:
    scores, classes = _log(outputs["probabilities"]), outputs["classes"]
    rows = [np.stack([each, score], axis=1) for each, score in zip(classes, scores, strict=True)]
    whole = spec.num_classes == scores.shape[1]
    return rows, [-np.inf if whole else float(score[-1]) for score in scores], 0, 0


def _end2end(found: np.ndarray) -> tuple[list[np.ndarray], list[float], int, int]:
    rows, cuts = [], []
    for each in found.astype(np.float64):
        score = _log(each[:, 4])
        order = np.argsort(-score, kind="stable")
        rows.append(np.column_stack([each[:, 5], score, each[:, :4], each[:, 6:]])[order])
        cuts.append(float(score.min()))
    return rows, cuts, 4, found.shape[2] - 6


def _detections(outputs: Outputs, spec: ModelSpec) -> tuple[list[np.ndarray], list[float], int, int]:
    boxes = outputs["rotated_boxes" if spec.task == "obb" else "boxes"].astype(np.float64)
    images, places = boxes.shape[:2]
    if outputs["count"].shape != (images,) or any(
        outputs[name].shape[:2] != (images, places)
        for name in ("scores", "classes", *_EXTRAS)
        if name in outputs
    ):
        raise ValueError("outputs of different shapes")
    extra = _extra(outputs, images, places)
    threshold = float(np.log(spec.output.conf + _SMALL))
    rows, cuts = [], []
    for image, count in enumerate(outputs["count"].tolist()):
        if not 0 <= count <= places:
            raise ValueError("as many detections as there is no room for")
        score = _log(outputs["scores"][image, :count])
        columns = [outputs["classes"][image, :count], score, boxes[image, :count], extra[image, :count]]
        rows.append(np.column_stack(columns))
        full = count == places
        cuts.append(max(threshold, float(score[-1])) if full and count else threshold)
    return rows, cuts, boxes.shape[2], extra.shape[2]


def _extra(outputs: Outputs, count: int, places: int) -> np.ndarray:
    """What detections have besides a box, float64 [N, K, E]."""
    found = [np.empty((count, places, 0))]
    if "keypoints" in outputs:
        found.append(outputs["keypoints"].reshape(count, places, -1))
    if "mask_coefficients" in outputs:
        found.append(outputs["mask_coefficients"])
    if "masks" in outputs:
        found.append(_moments(outputs["masks"]))
    return np.concatenate(found, axis=2).astype(np.float64)


def _moments(masks: np.ndarray) -> np.ndarray:
    """How large masks [N, K, H, W] are and where, float64 [N, K, 3].

    The means over all pixels of the mask, of the mask times (column + 0.5) / W, and of the mask times
    (row + 0.5) / H: one pixel more changes each by at most 1 / (H * W). Sums are of whole numbers, so that
    every language has the same.
    """
    height, width = masks.shape[2:]
    columns, rows = (masks.sum(axis=axis, dtype=np.float64) for axis in (2, 3))
    pixels = max(height * width, 1)
    across = (columns * (2 * np.arange(width) + 1)).sum(axis=2) / (2 * max(width, 1) * pixels)
    down = (rows * (2 * np.arange(height) + 1)).sum(axis=2) / (2 * max(height, 1) * pixels)
    return np.stack([rows.sum(axis=2) / pixels, across, down], axis=2)
