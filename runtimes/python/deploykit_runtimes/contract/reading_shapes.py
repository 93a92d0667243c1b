"""Which readings fit the shapes of a graph's outputs.

Shapes alone often fit several: [1, 84, 6] may be finished boxes, or a head with 80 classes and 6 anchors. The
number of anchors tells most of them apart: it follows from the size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deploykit_runtimes.contract.readings import READINGS, Fit, Known, Match, Reading
from deploykit_runtimes.contract.spec import InputSpec
from deploykit_runtimes.contract.tensors import TensorInfo

__all__ = ["MAYBE", "fit", "fitting"]

_STRIDES = (4, 8, 16, 32, 64)
_YOLOX_STRIDES = (8, 16, 32)
_ANCHORS = 3
"""Boxes in a cell of YOLOv5 and YOLOv7; later heads have one."""

_ANCHORS_AXIS = "anchors"
"""What the exporters of YOLOv5 and Ultralytics call a free number of boxes."""

_MASKS = 32
"""Mask coefficients of YOLO, where the file leaves their number open."""

MAYBE: dict[int, tuple[str, ...]] = {
    2: ("logits", "yolov7-end2end"),
    3: (
        "yolo",
        "yolo-obb",
        "yolo-pose",
        "yolov5",
        "yolox",
        "yolox-decoded",
        "end2end",
        "end2end-obb",
        "end2end-pose",
    ),
    4: ("yolo-segment", "yolov5-segment", "end2end-segment"),
}
"""What untold outputs may mean, by the axes of the last one that counts: prototypes have 4."""

_MOST_ROWS, _MOST_KEYPOINTS = 1000, 200
"""Above, [N, K, 6 + J * D] is not taken for poses."""


def fitting(names: Sequence[str], image: InputSpec, outputs: Sequence[TensorInfo], known: Known) -> list[Fit]:
    """Those of the readings that fit, the odd ones too."""
    found = (fit(READINGS[name], image, outputs, known) for name in names)
    return [each for each in found if each is not None]


def fit(reading: Reading, image: InputSpec, outputs: Sequence[TensorInfo], known: Known) -> Fit | None:
    """How a reading fits the shapes; None where it cannot."""
    if reading.task == "features":
        return _fit_features(reading, image, outputs)
    shape = outputs[0].shape
    if reading.task == "classify":
        return _fit_classes(reading, image, shape, known)
    if reading.layout == "end2end_flat":
        return _fit_flat(reading, image, shape, known)
    return _fit_boxes(reading, image, outputs, known)


def _fit_boxes(reading: Reading, image: InputSpec, outputs: Sequence[TensorInfo], known: Known) -> Fit | None:
    """Boxes of each image, with what they have beside their classes."""
    shape = outputs[0].shape
    if len(shape) != 3 or _contradicts(image, shape[0]):
        return None
    found = _with_extra(reading, outputs, known)
    if found is None:
        return None
    if reading.layout == "end2end":
        return _fit_rows(found, shape[1], shape[2])
    return _fit_head(found, image, shape)


def _with_extra(reading: Reading, outputs: Sequence[TensorInfo], known: Known) -> Fit | None:
    """What each box of the reading has beside its classes; None where prototypes are missing."""
    found = Fit(reading=reading, match="open", classes=known.classes)
    if reading.task == "pose":
        return replace(found, keypoints=known.keypoints)
    if reading.task != "segment":
        return found
    if len(outputs) < 2 or len(outputs[1].shape) != 4:
        return None
    channels = outputs[1].shape[1]
    return replace(found, mask_channels=channels if isinstance(channels, int) else _MASKS)


def _extra(found: Fit) -> int:
    return found.mask_channels + found.keypoints[0] * found.keypoints[1] + (found.reading.task == "obb")


def _fit_rows(found: Fit, rows: int | str, columns: int | str) -> Fit | None:
    """Finished boxes, one in a row: its corners, score and class, and what else it has."""
    if not isinstance(columns, int):
        return found
    if found.reading.task == "pose" and not found.keypoints[0]:
        values = columns - 6
        whole = any(values % each == 0 and 0 < values // each <= _MOST_KEYPOINTS for each in (2, 3))
        few = not isinstance(rows, int) or rows <= _MOST_ROWS
        return replace(found, match="exact" if few else "odd") if whole else None
    return replace(found, match="exact") if columns == 6 + _extra(found) else None


def _fit_head(found: Fit, image: InputSpec, shape: Sequence[int | str]) -> Fit | None:
    """A head with a box for each anchor, before suppression."""
    reading, told = found.reading, found.classes
    columns, anchors = (shape[1], shape[2]) if reading.layout == "yolo" else (shape[2], shape[1])
    if columns == _ANCHORS_AXIS:
        return None
    found = replace(found, match=_match_anchors(reading, image, anchors))
    if not isinstance(columns, int):
        return found
    rest = columns - (4 if reading.layout == "yolo" else 5) - _extra(found)
    if reading.task == "pose" and not found.keypoints[0]:  # classes and keypoints share what is left
        return found if rest >= max(told, 1) + 2 else None
    if rest < 1 or (told and rest != told):
        return None
    return replace(found, classes=rest)


def _match_anchors(reading: Reading, image: InputSpec, anchors: int | str) -> Match:
    """Whether a head of this kind has this many boxes at the size of the image."""
    free = {"height", "width"} & image.dynamic.keys()
    if anchors == _ANCHORS_AXIS:
        return "open" if reading.name.startswith("yolox") else "exact"
    if not isinstance(anchors, int):
        return "open"
    if free:
        return "odd"  # their number would follow the size
    size = image.height, image.width
    if reading.name.startswith("yolox"):
        return "exact" if anchors == sum(_cells(size, stride) for stride in _YOLOX_STRIDES) else "odd"
    totals = {
        sum(_cells(size, stride) for stride in _STRIDES[first:last])
        for first in range(len(_STRIDES))
        for last in range(first + 2, len(_STRIDES) + 1)
    }
    several = reading.layout == "yolov5" and anchors % _ANCHORS == 0 and anchors // _ANCHORS in totals
    return "exact" if anchors in totals or several else "odd"


def _cells(size: tuple[int, int], stride: int) -> int:
    return (size[0] // stride) * (size[1] // stride)


def _contradicts(image: InputSpec, axis: int | str) -> bool:
    """Whether an axis cannot be the batch: it is another number."""
    return isinstance(axis, int) and "batch" not in image.dynamic and axis != image.batch


def _fit_features(reading: Reading, image: InputSpec, outputs: Sequence[TensorInfo]) -> Fit | None:
    """Maps [N, C, H, W] or tokens [N, T, C]; vectors [N, C] only beside others."""
    fixed = "batch" not in image.dynamic
    for info in outputs:
        floating = info.dtype in ("float32", "float16")
        rows = (
            not info.shape or _contradicts(image, info.shape[0]) or (fixed and info.shape[0] != image.batch)
        )
        if not floating or rows or not (2 if len(outputs) > 1 else 3) <= len(info.shape) <= 4:
            return Fit(reading=reading, match="odd")
    return Fit(reading=reading, match="exact")


def _fit_classes(reading: Reading, image: InputSpec, shape: Sequence[int | str], known: Known) -> Fit | None:
    if len(shape) != 2 or _contradicts(image, shape[0]):
        return None
    classes = shape[1] if isinstance(shape[1], int) else known.classes
    if classes < 1 and isinstance(shape[1], int):
        return None
    if known.classes and classes != known.classes:
        return None
    return Fit(reading=reading, match=_match_batch(image, shape[0], known), classes=classes)


def _match_batch(image: InputSpec, axis: int | str, known: Known) -> Match:
    """Whether an axis is the batch."""
    if axis == known.batch and axis not in ("", "?"):
        return "exact"
    if isinstance(axis, int):
        return "open" if "batch" in image.dynamic else "exact"
    if "batch" not in image.dynamic:
        return "odd"  # a fixed batch gives a fixed number of rows
    return "open"


def _fit_flat(reading: Reading, image: InputSpec, shape: Sequence[int | str], known: Known) -> Fit | None:
    if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != 7):
        return None
    match = {"exact": "odd", "odd": "exact"}.get(_match_batch(image, shape[0], known), "open")
    if _contradicts(image, shape[0]):
        match = "exact"
    return Fit(reading=reading, match=match if isinstance(shape[1], int) else "open")  # type: ignore[arg-type]
