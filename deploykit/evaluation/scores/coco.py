"""COCO's own evaluation, by faster-coco-eval: the numbers that papers report, computed by COCO's code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from deploykit_runtimes.answers.results import Detections, Poses, Segmentation
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.optional import require
from deploykit_runtimes.text.printable import one_line

from deploykit.evaluation.data.truth import Dataset
from deploykit.evaluation.scores.detection import keypoint_sigmas
from deploykit.evaluation.scores.records import Record

__all__ = ["MOST", "check_coco", "coco_record", "coco_scores"]

MOST = {"boxes": 100, "masks": 100, "keypoints": 20}
"""Detections of a picture and category that COCO counts."""

_KINDS = {"boxes": "bbox", "masks": "segm", "keypoints": "keypoints"}
_PARTS = {"detect": ("boxes",), "segment": ("boxes", "masks"), "pose": ("boxes", "keypoints")}
_SIZES = ("small", "medium", "large")


def check_coco() -> Any:
    """The package faster-coco-eval.

    Raises:
        DependencyError: it is not installed.
    """
    return require("faster_coco_eval", extra="eval", purpose="evaluate as COCO does")


def coco_record(answer: Detections) -> Record:
    """What COCO counts for one picture: ``coco_*`` of its detections, in pixels of the picture."""
    corners = answer.boxes.astype(np.float32)
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    record: Record = {
        "coco_boxes": sides,
        "coco_scores": answer.scores.astype(np.float32),
        "coco_classes": answer.class_ids.astype(np.int32),
    }
    if isinstance(answer, Segmentation):
        mask = check_coco().mask
        stacked = np.asfortranarray(answer.masks.transpose(1, 2, 0).astype(np.uint8))
        runs = [bytes(each["counts"]) for each in mask.encode(stacked)] if len(answer.masks) else []
        record["coco_runs"] = np.frombuffer(b"".join(runs), np.uint8)
        record["coco_lengths"] = np.array([len(run) for run in runs], np.int32)
    if isinstance(answer, Poses):
        points = answer.keypoints.astype(np.float32)
        if points.shape[2] == 2:
            points = np.concatenate([points, np.ones((*points.shape[:2], 1), np.float32)], axis=2)
        record["coco_keypoints"] = points.reshape(len(points), -1)
    return record


def coco_scores(
    records: Mapping[int, Record], dataset: Dataset, spec: ModelSpec, sizes: Mapping[int, tuple[int, int]]
) -> dict[str, Any]:
    """COCO's numbers.

    Args:
        records: Records of the pictures that could be read, by the place of the sample.
        dataset: COCO's JSON.
        spec: The model.
        sizes: Height and width that the JSON gives for each picture, by its number.

    Returns:
        For ``boxes``, and ``masks`` or ``keypoints``: ``map``, ``map50``, ``map75``, the same by size of the
        object, recall ``ar``, and ``map`` of each class by its number.

    Raises:
        InputError: COCO's evaluation refuses the JSON.
    """
    package = check_coco()
    numbers = [dataset.samples[place].number for place in records]
    found = [
        entry
        for place, record in records.items()
        for entry in _entries(record, dataset, dataset.samples[place].number, sizes)
    ]
    if not found:
        nothing = {"map": 0.0, "map50": 0.0, "map75": 0.0, "ar": 0.0, "classes": {}}
        return {part: dict(nothing) for part in _PARTS[spec.task]}
    try:
        return _measured(package, found, numbers, dataset, spec)
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"COCO's evaluation cannot use {dataset.source}: {reason}.") from error


def _measured(
    package: Any, found: list[dict[str, Any]], numbers: list[int], dataset: Dataset, spec: ModelSpec
) -> dict[str, Any]:
    truth = package.COCO(dict(dataset.content or {}))
    answers = truth.loadRes(found)
    measured = {}
    for part in _PARTS[spec.task]:
        settings: dict[str, Any] = {}
        if part == "keypoints":
            known = keypoint_sigmas(spec.output.keypoints[0], dataset.sigmas)
            settings["kpt_oks_sigmas"] = known.astype(float).tolist()
        run = package.COCOeval_faster(
            truth, answers, iouType=_KINDS[part], print_function=lambda *_: None, **settings
        )
        run.params.imgIds = list(numbers)
        run.params.catIds = sorted(dataset.categories.values())
        run.evaluate()
        run.accumulate()
        measured[part] = _read(run, dataset)
    return measured


def _entries(
    record: Record, dataset: Dataset, number: int, sizes: Mapping[int, tuple[int, int]]
) -> list[dict[str, Any]]:
    """Detections as COCO's results; classes that the data set lacks are left out, as COCO does."""
    runs = (
        np.split(record["coco_runs"], np.cumsum(record["coco_lengths"])[:-1]) if "coco_runs" in record else ()
    )
    entries = []
    for place, class_id in enumerate(record["coco_classes"].tolist()):
        if class_id not in dataset.categories:
            continue
        entry: dict[str, Any] = {
            "image_id": number,
            "category_id": dataset.categories[class_id],
            "bbox": record["coco_boxes"][place].tolist(),
            "score": float(record["coco_scores"][place]),
        }
        if "coco_runs" in record:
            entry["segmentation"] = {"size": list(sizes[number]), "counts": runs[place].tobytes()}
        if "coco_keypoints" in record:
            entry["keypoints"] = record["coco_keypoints"][place].tolist()
        entries.append(entry)
    return entries


def _read(run: Any, dataset: Dataset) -> dict[str, Any]:
    """The numbers of one finished run."""
    precision, recall = run.eval["precision"], run.eval["recall"]  # [T, R, K, A, M], [T, K, A, M]
    areas = list(run.params.areaRngLbl)
    everything = precision[:, :, :, areas.index("all"), -1]
    classes = {category: number for number, category in dataset.categories.items()}
    each = {
        classes[int(category)]: {
            "map": _mean(everything[:, :, place]),
            "map50": _mean(everything[0, :, place]),
        }
        for place, category in enumerate(run.params.catIds)
    }
    return {
        "map": _mean(everything),
        "map50": _mean(everything[0]),
        "map75": _mean(everything[5]),
        "ar": _mean(recall[:, :, areas.index("all"), -1]),
        **{
            f"map_{size}": _mean(precision[:, :, :, areas.index(size), -1])
            for size in _SIZES
            if size in areas
        },
        "classes": {number: values for number, values in each.items() if values["map"] is not None},
    }


def _mean(values: np.ndarray) -> float | None:
    """The mean of the defined values; COCO writes -1 for undefined ones."""
    there = values[values > -1]
    return float(there.mean()) if there.size else None
