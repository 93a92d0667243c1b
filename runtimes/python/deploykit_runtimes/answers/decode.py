"""Raw outputs of every supported head into results in pixels of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deploykit_runtimes.answers.heads import Candidates, read_candidates, read_postprocessed
from deploykit_runtimes.answers.masks import paint_mask
from deploykit_runtimes.answers.nms import nms, rotated_nms
from deploykit_runtimes.answers.results import (
    Classification,
    ClassScore,
    Detections,
    Features,
    OrientedDetections,
    Poses,
    Result,
    Segmentation,
)
from deploykit_runtimes.answers.thresholds import Thresholds
from deploykit_runtimes.answers.value_checks import check_class_scores
from deploykit_runtimes.contract.spec import ModelSpec, OutputSpec
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.pixels.geometry import Geometry

__all__ = ["Found", "activate", "classifications", "decode", "find", "in_image"]

_NOT_FINITE = "The model's class scores hold NaN or infinity."
_NOT_FINITE_HINT = "Run `deploykit verify` against the checkpoint; half precision can overflow."
_MAX_CANDIDATES = 30000  # of the best scores, as in Ultralytics
_FEW = 16  # Up to here, searching for the best again and again is faster than sorting.


def decode(
    outputs: Mapping[str, np.ndarray],
    spec: ModelSpec,
    geometries: Sequence[Geometry],
    thresholds: Thresholds | None = None,
) -> list[Result]:
    """Read the outputs of one batch.

    Args:
        outputs: What the graph returned, by name. Rows beyond ``geometries`` are ignored.
        spec: The model's contract.
        geometries: How each image of the batch lies in the tensor.
        thresholds: What to keep; the model's defaults when None.

    Raises:
        ModelError: an output is missing, has another shape than the contract says, or holds scores
            that are not numbers.
    """
    thresholds = thresholds or Thresholds.of(spec.output)
    if not spec.output.names:
        raise ModelError("The contract names no output.")
    try:
        dtype = None if spec.is_postprocessed else np.float32
        arrays = [np.asarray(outputs[name], dtype) for name in spec.output.names]
    except KeyError as error:
        raise ModelError(
            f"The contract names the output {error}, the graph gives {sorted(outputs)}."
        ) from error
    if spec.is_postprocessed:
        named = dict(zip(spec.output.names, arrays, strict=True))
        if spec.output.layout == "top_k":
            return [_top_k(named, spec, row, item, thresholds) for row, item in enumerate(geometries)]
        return [_postprocessed(named, spec, row, item, thresholds) for row, item in enumerate(geometries)]
    if spec.output.layout == "features":
        return [_features(arrays, spec, row, item) for row, item in enumerate(geometries)]
    if spec.output.layout in ("logits", "probabilities"):
        if spec.inferred and arrays[0].ndim == 2:
            check_class_scores(arrays[0], spec)
        scores = activate(arrays[0], spec.output)
        return [_classification(scores[row], spec, item, thresholds) for row, item in enumerate(geometries)]
    return [_detections(arrays, spec, row, item, thresholds) for row, item in enumerate(geometries)]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The detections of one image before they are carried over to it, which rounds and cuts them off.

    Attributes:
        candidates: What was kept, best first, in pixels of ``geometry.input_size``.
        geometry: How the image lies there. A graph with its pre-processing inside answers in pixels of the
            image.
        prototypes: Mask prototypes, float32 [M, h, w], of which ``candidates.extra`` are the weights.
        masks: bool [n, H, W], of a graph that has painted them.
    """

    candidates: Candidates
    geometry: Geometry
    prototypes: np.ndarray | None = None
    masks: np.ndarray | None = None


def find(
    outputs: Mapping[str, np.ndarray],
    spec: ModelSpec,
    row: int,
    geometry: Geometry,
    thresholds: Thresholds,
    *,
    every_class: bool = False,
) -> Found:
    """The detections of one image of a batch, for who measures them; ``decode`` makes results of them.

    Args:
        outputs, spec, thresholds: As for ``decode``.
        row: The place of the image in the batch.
        geometry: How it lies in the tensor.
        every_class: See ``read_candidates``.

    Raises:
        ModelError: as for ``decode``.
    """
    if spec.is_postprocessed:
        found = read_postprocessed(outputs, row, spec, thresholds.conf, thresholds.max_det)
        prototypes = outputs["prototypes"][row] if "prototypes" in outputs else None
        if not spec.preprocess.included:
            return Found(candidates=found, geometry=geometry, prototypes=prototypes)
        if "masks" in outputs:
            masks = outputs["masks"][row][: len(found.scores)].astype(bool)
            return Found(candidates=found, geometry=geometry.of_image(), masks=masks)
        if prototypes is None:
            return Found(candidates=found, geometry=geometry.of_image())
        found = replace(found, boxes=geometry.boxes_to_tensor(found.boxes))
        return Found(candidates=found, geometry=geometry, prototypes=prototypes)
    arrays = [np.asarray(outputs[name], np.float32) for name in spec.output.names]
    size = geometry.input_size
    found = read_candidates(arrays[0], row, spec, size, thresholds.conf, every_class=every_class)
    found = found.take(_select(found, spec, thresholds))
    prototypes = arrays[1][row] if spec.task == "segment" and len(arrays) > 1 else None
    return Found(candidates=found, geometry=geometry, prototypes=prototypes)


def in_image(found: Found, spec: ModelSpec) -> Detections:
    """What was found as the task's result, in pixels of the image."""
    if found.masks is not None:
        shared = _shared(found.candidates, spec, found.geometry)
        return Segmentation(**shared, boxes=found.candidates.boxes, masks=found.masks)
    prototypes = [] if found.prototypes is None else [found.prototypes[None], found.prototypes[None]]
    return _in_image(found.candidates, prototypes, spec, 0, found.geometry)


def classifications(
    classes: Sequence[Sequence[int]],
    scores: Sequence[Sequence[float]],
    spec: ModelSpec,
    geometries: Sequence[Geometry],
) -> list[Result]:
    """Classes and scores of each image, best first, as results. Rows beyond ``geometries`` are ignored."""
    return [_named(classes[row], scores[row], spec, item) for row, item in enumerate(geometries)]


def activate(logits: np.ndarray, output: OutputSpec) -> np.ndarray:
    """Class scores in 0..1, float32 [N, C]. A head of one output is a sigmoid, never a softmax.

    Raises:
        ModelError: the output is not [N, C], or holds NaN or infinity.
    """
    if logits.ndim != 2:
        raise ModelError(f"Wanted class scores [N, C], the graph gave {list(logits.shape)}.")
    lowest, highest = np.minimum.reduce(logits, None), np.maximum.reduce(logits, 1, keepdims=True)
    # NaN is both the lowest and the highest.
    if not (math.isfinite(lowest) and math.isfinite(np.maximum.reduce(highest, None))):
        raise ModelError(_NOT_FINITE, hint=_NOT_FINITE_HINT)
    if output.layout == "probabilities" or output.activation == "none":
        return logits
    if output.activation == "sigmoid" or logits.shape[1] == 1:
        half: np.ndarray = np.tanh(logits / 2)  # of any size without overflow
        return (half + 1) / 2
    powers: np.ndarray = logits - highest
    np.exp(powers, out=powers)
    powers /= np.add.reduce(powers, 1, keepdims=True)
    return powers


def _classification(
    scores: np.ndarray, spec: ModelSpec, geometry: Geometry, thresholds: Thresholds
) -> Classification:
    best = _best(scores, thresholds.top_k)
    return _named(best, [scores.item(n) for n in best], spec, geometry)


def _named(
    classes: Sequence[int], scores: Sequence[float], spec: ModelSpec, geometry: Geometry
) -> Classification:
    top = [
        ClassScore(class_id=n, name=spec.class_name(n), score=score)
        for n, score in zip(classes, scores, strict=True)
    ]
    return Classification(top=tuple(top), image_size=geometry.image_size)


def _best(scores: np.ndarray, count: int) -> list[int]:
    """Indices of the highest scores, the lower index first where they are equal."""
    if count > _FEW:
        order: list[int] = np.argsort(-scores, kind="stable")[:count].tolist()
        return order
    left, best = scores.copy(), []
    for _ in range(min(count, len(scores))):
        place = int(left.argmax())
        best.append(place)
        left[place] = -math.inf
    return best


def _features(arrays: Sequence[np.ndarray], spec: ModelSpec, row: int, geometry: Geometry) -> Features:
    return Features(
        maps=tuple(array[row] for array in arrays), names=spec.output.names, image_size=geometry.image_size
    )


def _detections(
    arrays: Sequence[np.ndarray], spec: ModelSpec, row: int, geometry: Geometry, thresholds: Thresholds
) -> Detections:
    found = read_candidates(arrays[0], row, spec, geometry.input_size, thresholds.conf)
    found = found.take(_select(found, spec, thresholds))
    return _in_image(found, arrays, spec, row, geometry)


def _in_image(
    found: Candidates, arrays: Sequence[np.ndarray], spec: ModelSpec, row: int, geometry: Geometry
) -> Detections:
    """The chosen detections as the task's result."""
    if spec.task == "segment":
        return _segmentation(found, arrays, spec, row, geometry)
    if spec.task == "obb":
        return _oriented(found, spec, geometry)
    shared = _shared(found, spec, geometry)
    if spec.task == "pose":
        points = found.extra.reshape(-1, *spec.output.keypoints)
        keypoints = geometry.points_to_image(points)
        return Poses(**shared, boxes=geometry.boxes_to_image(found.boxes), keypoints=keypoints)
    return Detections(**shared, boxes=geometry.boxes_to_image(found.boxes))


def _top_k(
    outputs: Mapping[str, np.ndarray], spec: ModelSpec, row: int, geometry: Geometry, thresholds: Thresholds
) -> Classification:
    best = (outputs[name][row, : thresholds.top_k] for name in ("probabilities", "classes"))
    scores, classes = (values.tolist() for values in best)
    if not np.isfinite(scores).all():
        raise ModelError(_NOT_FINITE, hint=_NOT_FINITE_HINT)
    return _named(classes, scores, spec, geometry)


def _postprocessed(
    outputs: Mapping[str, np.ndarray], spec: ModelSpec, row: int, geometry: Geometry, thresholds: Thresholds
) -> Detections:
    found = read_postprocessed(outputs, row, spec, thresholds.conf, thresholds.max_det)
    if not spec.preprocess.included:
        prototypes = [outputs[name] for name in ("boxes", "prototypes") if name in outputs]
        return _in_image(found, prototypes, spec, row, geometry)
    if "masks" in outputs:
        masks = outputs["masks"][row][: len(found.scores)].astype(bool)
        masks.setflags(write=False)
        return Segmentation(**_shared(found, spec, geometry), boxes=found.boxes, masks=masks)
    if spec.task == "segment":
        boxes = geometry.boxes_to_tensor(found.boxes)
        arrays = [outputs["boxes"], outputs["prototypes"]]
        return _segmentation(replace(found, boxes=boxes), arrays, spec, row, geometry)
    return _in_image(found, [], spec, row, geometry.of_image())


def _select(found: Candidates, spec: ModelSpec, thresholds: Thresholds) -> np.ndarray:
    """Indices of the detections to keep, best first."""
    order: np.ndarray = np.argsort(-found.scores, kind="stable")
    if spec.output.nms or spec.output.layout.startswith("end2end"):
        return order[: thresholds.max_det]
    best = order[:_MAX_CANDIDATES]
    class_ids = None if spec.output.class_agnostic else found.class_ids[best]
    scores = found.scores[best]
    if spec.task == "obb":
        rotated = np.concatenate([found.boxes, found.extra[:, -1:]], axis=1)[best]
        kept = rotated_nms(rotated, scores, class_ids, iou=thresholds.iou, limit=thresholds.max_det)
    else:
        kept = nms(found.boxes[best], scores, class_ids, iou=thresholds.iou, limit=thresholds.max_det)
    chosen: np.ndarray = best[kept]
    return chosen


def _shared(found: Candidates, spec: ModelSpec, geometry: Geometry) -> dict[str, Any]:
    return {
        "scores": found.scores,
        "class_ids": found.class_ids,
        "names": tuple(spec.class_name(int(index)) for index in found.class_ids),
        "image_size": geometry.image_size,
    }


def _segmentation(
    found: Candidates, arrays: Sequence[np.ndarray], spec: ModelSpec, row: int, geometry: Geometry
) -> Segmentation:
    if len(arrays) < 2 or arrays[1].ndim != 4 or arrays[1].shape[1] != found.extra.shape[1]:
        shapes = [list(array.shape) for array in arrays]
        raise ModelError(
            f"A segmentation head gives detections and prototypes [N, {found.extra.shape[1]}, h, w],"
            f" the graph gave {shapes}."
        )
    masks = np.zeros((len(found.scores), *geometry.image_size), bool)
    painted = (
        paint_mask(mask, arrays[1][row], weights, box, geometry)
        for mask, weights, box in zip(masks, found.extra, found.boxes, strict=True)
    )
    seen = np.fromiter(painted, bool, len(masks))
    if not seen.all():
        found, masks = found.take(np.flatnonzero(seen)), masks[seen]
    masks.setflags(write=False)
    return Segmentation(
        **_shared(found, spec, geometry), boxes=geometry.boxes_to_image(found.boxes), masks=masks
    )


def _oriented(found: Candidates, spec: ModelSpec, geometry: Geometry) -> OrientedDetections:
    rotated = geometry.rotated_to_image(np.concatenate([found.boxes, found.extra[:, -1:]], axis=1))
    corners = _corners(rotated)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    return OrientedDetections(**_shared(found, spec, geometry), boxes=boxes, rotated=rotated, corners=corners)


def _corners(rotated: np.ndarray) -> np.ndarray:
    """x, y, width, height, angle [n, 5] to corners [n, 4, 2]: bottom right first, as Ultralytics does."""
    cos, sin = np.cos(rotated[:, 4:]), np.sin(rotated[:, 4:])
    along = rotated[:, 2:3] / 2 * np.concatenate([cos, sin], axis=1)
    down = rotated[:, 3:4] / 2 * np.concatenate([-sin, cos], axis=1)
    centre = rotated[:, :2]
    return np.stack(
        [centre + along + down, centre + along - down, centre - along - down, centre - along + down], 1
    )
