"""The record of one picture for a detector, and the numbers over all pictures, as Ultralytics' ``val``
counts them.

Everything is compared in pixels of the tensor, before detections are clipped to the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from deploykit_runtimes.answers.decode import Found
from deploykit_runtimes.answers.nms import box_iou, probabilistic_iou
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.pixels.geometry import Geometry

from deploykit.evaluation.data.truth import Objects
from deploykit.evaluation.scores.average_precision import class_curves, match
from deploykit.evaluation.scores.classification import shown_classes
from deploykit.evaluation.scores.confusion import BACKGROUND, confused, confusion_matrix
from deploykit.evaluation.scores.masks import mask_overlaps, network_masks, outline_masks
from deploykit.evaluation.scores.records import Record
from deploykit.evaluation.scores.rotated import smallest_rectangles

__all__ = ["detection_record", "detection_scores", "keypoint_sigmas", "keypoint_similarity"]

COCO_SIGMAS = np.array(
    [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float32
) / np.float32(1000)
"""Of COCO's 17 keypoints of a person (https://cocodataset.org/#keypoints-eval)."""

_AREA = 0.53
"""Of a person in its box, for data sets that give no areas."""


def keypoint_sigmas(count: int, given: Sequence[float]) -> np.ndarray:
    """The sigmas of keypoints: as given, COCO's for 17 keypoints, otherwise 1 / count for each."""
    if given:
        return np.array(given, np.float32)
    return COCO_SIGMAS if count == len(COCO_SIGMAS) else np.full(count, 1 / count, np.float32)


def detection_record(
    found: Found, truth: Objects, spec: ModelSpec, sigmas: Sequence[float] = (), *, boxes_only: bool = False
) -> Record:
    """What one picture contributes.

    Args:
        found: The detections, best first.
        truth: The objects.
        spec: The model.
        sigmas: Of the keypoints.
        boxes_only: Leave out masks and keypoints.

    Returns:
        ``scores``, ``found`` [n] and ``boxes`` bool [n, 10] of the detections, ``masks`` or ``keypoints``
        likewise, ``truth`` [m], and ``confused`` [k, 2].
    """
    candidates, geometry = found.candidates, found.geometry
    class_ids, wanted = candidates.class_ids, truth.class_ids
    boxes = _to_tensor(truth.boxes.reshape(-1, 2, 2), geometry).reshape(-1, 4)
    if spec.task == "obb":
        corners = [_to_tensor(outline, geometry) for outline in truth.outlines]
        rotated = np.concatenate([candidates.boxes, candidates.extra[:, -1:]], axis=1)
        overlaps = probabilistic_iou(smallest_rectangles(corners), rotated)
    else:
        overlaps = box_iou(boxes, candidates.boxes.astype(np.float32, copy=False))
    record = {
        "scores": candidates.scores.astype(np.float32),
        "found": class_ids.astype(np.int32),
        "boxes": match(overlaps, class_ids, wanted),
        "truth": wanted.astype(np.int32),
        "confused": confused(overlaps, candidates.scores, class_ids, wanted),
    }
    if boxes_only:
        return record
    if spec.task == "segment":
        record["masks"] = _match_masks(found, truth)
    elif spec.task == "pose" and truth.keypoints is not None:
        marks = truth.keypoints.copy()
        marks[..., :2] = _to_tensor(marks[..., :2], geometry)
        points = candidates.extra.reshape(len(class_ids), *spec.output.keypoints)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * np.float32(_AREA)
        known = keypoint_sigmas(spec.output.keypoints[0], sigmas)
        record["keypoints"] = match(keypoint_similarity(marks, points, areas, known), class_ids, wanted)
    return record


def _to_tensor(points: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Points [..., 2], x and y in fractions of the picture, converted to pixels of the tensor."""
    (high, wide), (down, across) = geometry.resized, geometry.offset
    placed: np.ndarray = points * np.array((wide, high), np.float32) + np.array((across, down), np.float32)
    return placed


def _match_masks(found: Found, truth: Objects) -> np.ndarray:
    candidates, geometry = found.candidates, found.geometry
    if found.masks is not None or found.prototypes is None:
        masks = np.zeros((0, *geometry.input_size), bool) if found.masks is None else found.masks
        wanted, order = outline_masks(truth.outlines, geometry, reduced=1)
    else:
        masks = network_masks(found.prototypes, candidates.extra, candidates.boxes, geometry.input_size)
        wanted, order = outline_masks(truth.outlines, geometry, reduced=4)
    return match(mask_overlaps(wanted, masks), candidates.class_ids, truth.class_ids[order])


def keypoint_similarity(
    wanted: np.ndarray, found: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """COCO's object keypoint similarity.

    Args:
        wanted: float32 [m, K, 3]; keypoints of visibility 0 are not labelled, and do not count.
        found: float32 [n, K, 2 or 3].
        areas: Of the objects [m].
        sigmas: [K].

    Returns:
        float32 [m, n].
    """
    eps = np.float32(1e-7)
    apart = ((wanted[:, None, :, :2] - found[None, :, :, :2]) ** 2).sum(-1)
    falls = apart / ((2 * sigmas) ** 2 * (areas[:, None, None] + eps) * 2)
    labelled = (wanted[..., 2] != 0).astype(np.float32)
    similarity: np.ndarray = (np.exp(-falls) * labelled[:, None]).sum(-1) / (labelled.sum(-1)[:, None] + eps)
    return similarity


def detection_scores(records: Sequence[Record], spec: ModelSpec) -> dict[str, Any]:
    """Compute the numbers.

    Args:
        records: Of the pictures that could be read.
        spec: The model.
    """
    joined = {name: np.concatenate([record[name] for record in records]) for name in records[0]}
    found, wanted = joined["found"], joined["truth"]
    parts = [part for part in ("boxes", "masks", "keypoints") if part in joined]
    measured = {part: class_curves(joined[part], joined["scores"], found, wanted) for part in parts}
    names = shown_classes(spec, found, wanted)
    pairs = np.where(joined["confused"] == BACKGROUND, len(names), joined["confused"])
    classes = []
    for place, class_id in enumerate(measured["boxes"].class_ids.tolist()):
        entry: dict[str, Any] = {"class_id": class_id, "name": spec.class_name(class_id)}
        entry["objects"] = int(measured["boxes"].objects[place])
        for part, curves in measured.items():
            entry[part] = {
                "map": float(curves.average[place].mean()),
                "map50": float(curves.average[place, 0]),
                "precision": float(curves.precision[place]),
                "recall": float(curves.recall[place]),
            }
        classes.append(entry)
    return {
        "images": len(records),
        "objects": len(wanted),
        **{part: {**curves.means(), "confidence": curves.confidence} for part, curves in measured.items()},
        "classes": classes,
        "confusion": {
            "labels": [*names, "background"],
            "matrix": confusion_matrix(pairs, len(names) + 1).tolist(),
        },
        "curves": {
            part: {str(n): curves.envelope[place].tolist() for place, n in enumerate(curves.class_ids)}
            for part, curves in measured.items()
        },
    }
