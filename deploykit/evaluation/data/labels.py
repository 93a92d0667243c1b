"""Ultralytics' label files: one line per object, in fractions of the picture's sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from deploykit_runtimes.contract.spec import Task
from deploykit_runtimes.errors import InputError, OptionError

from deploykit.evaluation.data.strangers import LARGEST_LABELS, MOST_OBJECTS, read_text
from deploykit.evaluation.data.truth import Objects

__all__ = ["LabelForm", "label_path", "read_label_file"]

_SLACK = 0.01
"""How far beyond the picture Ultralytics takes coordinates."""


def label_path(picture: Path) -> Path:
    """The path of a picture's labels: the last folder ``images`` becomes ``labels``, the suffix ``.txt``."""
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


@dataclass(frozen=True, kw_only=True)
class LabelForm:
    """What the lines of label files hold.

    Attributes:
        task: ``detect``: class, centre x, centre y, width, height, or class and polygon. ``segment``: class
            and polygon. ``obb``: class and four corners. ``pose``: class, box and keypoints.
        classes: Maps the classes of the files to those of the model.
        keypoints: Number of keypoints, and of values per keypoint: 2, or 3 with the visibility.
    """

    task: Task
    classes: Mapping[int, int]
    keypoints: tuple[int, int] = (0, 0)


def read_label_file(path: Path, form: LabelForm) -> tuple[Objects, int]:
    """The objects of one picture.

    Args:
        path: The file.
        form: What its lines hold.

    Returns:
        The objects, and how many duplicate lines were left out.

    Raises:
        InputError: it cannot be read as such a file.
        OptionError: it has a class that the data set does not have.
    """
    try:
        lines = [line for line in read_text(path, LARGEST_LABELS).splitlines() if line.strip()]
        if len(lines) > MOST_OBJECTS:
            raise InputError(f"The labels {path} have more than {MOST_OBJECTS} objects: {len(lines)}.")
        rows = [np.array(list(map(float, line.split())), np.float32) for line in lines]
    except ValueError as error:
        raise InputError(f"The labels {path} cannot be read: {error}.") from error
    kept = list({row.tobytes(): row for row in rows}.values())
    task, keypoints = form.task, form.keypoints
    objects = [_row(f"object {number} of {path}", row, form) for number, row in enumerate(kept, start=1)]
    outlines = tuple(outline for _, _, outline, _ in objects if outline is not None)
    if task in ("segment", "obb") and len(outlines) < len(objects):
        raise InputError(
            f"The labels {path} hold boxes, and the model's task is {task}.",
            hint="Labels of this task hold the outline of each object.",
        )
    marks = [points for *_, points in objects if points is not None]
    return Objects(
        class_ids=np.array([number for number, *_ in objects], np.int64),
        boxes=np.array([box for _, box, *_ in objects], np.float32).reshape(-1, 4),
        outlines=outlines if task in ("segment", "obb") else (),
        keypoints=np.array(marks, np.float32).reshape(-1, keypoints[0], 3) if task == "pose" else None,
    ), len(rows) - len(kept)


def _row(
    place: str, row: np.ndarray, form: LabelForm
) -> tuple[int, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Class, box, outline and keypoints of one line."""
    task, classes, keypoints = form.task, form.classes, form.keypoints
    wanted = 5 + keypoints[0] * keypoints[1] if task == "pose" else 5
    polygon = task != "pose" and len(row) > 6 and len(row) % 2 == 1
    if len(row) != wanted and not polygon:
        raise InputError(
            f"Wanted {wanted} values for {place}, found {len(row)}.",
            hint="A pose's labels follow kpt_shape of data.yaml." if task == "pose" else "",
        )
    if row[0] % 1 or int(row[0]) not in classes:
        raise OptionError(
            f"{place[0].upper()}{place[1:]} has class {row[0]:g}, and the data set has "
            f"{len(classes)}: 0 to {len(classes) - 1}.",
            hint="The names of data.yaml and the labels have to be of the same data set.",
        )
    class_id = classes[int(row[0])]
    points = row[1:].reshape(-1, 2) if polygon else row[1:5]
    _check_shares(points, place)
    if polygon:
        return class_id, np.concatenate([points.min(0), points.max(0)]), points, None
    centre, half = row[1:3], row[3:5] / 2
    box = np.concatenate([centre - half, centre + half])
    if task != "pose":
        return class_id, box, None, None
    marks: np.ndarray = row[5:].reshape(keypoints)
    _check_shares(marks[:, :2], place)
    if keypoints[1] == 2:
        seen = np.asarray((marks >= 0).all(1), np.float32)[:, None]
        marks = np.concatenate([marks, seen], 1)
    return class_id, box, None, marks


def _check_shares(points: np.ndarray, place: str) -> None:
    low, high = points.min(initial=0), points.max(initial=0)
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # NaN is neither
        raise InputError(
            f"Wanted coordinates in 0..1 for {place}, found {points.min():g} to {points.max():g}.",
            hint="Label files hold shares of the picture's width and height, not pixels.",
        )
