"""The rows of every detection head above a score, before suppression or after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deploykit_runtimes.answers.value_checks import check_numbers, check_scores, check_whole
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ModelError

__all__ = ["Candidates", "read_candidates", "read_postprocessed"]

_YOLOX_STRIDES = (8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Detections in pixels of the tensor.

    Attributes:
        boxes: float32 [n, 4]; x1, y1, x2, y2, or centre x, centre y, width, height of rotated ones.
        scores: float32 [n].
        class_ids: int64 [n].
        extra: float32 [n, E]: mask coefficients, keypoints or the angle.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    extra: np.ndarray

    def take(self, indices: np.ndarray) -> Candidates:
        """These rows, in this order."""
        return Candidates(
            boxes=self.boxes[indices],
            scores=self.scores[indices],
            class_ids=self.class_ids[indices],
            extra=self.extra[indices],
        )


def read_candidates(
    output: np.ndarray,
    row: int,
    spec: ModelSpec,
    input_size: tuple[int, int],
    conf: float,
    *,
    every_class: bool = False,
) -> Candidates:
    """Rows of one image that score above ``conf``.

    Args:
        output: float32, the first output of the graph for the whole batch.
        row: Index of the image in the batch.
        spec: The model's contract; ``OutputLayout`` says what the axes are.
        input_size: Height and width of the tensor.
        conf: Lowest score, exclusive.
        every_class: A box becomes a row for each class above ``conf``, as evaluations of detectors count;
            otherwise for its best class alone. Of no effect where the graph has chosen a class itself.

    Raises:
        ModelError: the output's shape contradicts the contract, or a score is NaN.
    """
    layout = spec.output.layout
    if layout == "end2end_flat":
        _expect(output, spec, axes=2, columns=7)
        if spec.inferred:
            check_whole(output[:, 0], spec, "number of an image")
            check_whole(output[:, 5], spec, "class number")
            check_scores(output[:, 6], spec, least=-1)
        check_numbers(output[:, 6])
        rows = output[(output[:, 0] == row) & (output[:, 6] > conf)]
        return Candidates(
            boxes=rows[:, 1:5], scores=rows[:, 6], class_ids=rows[:, 5].astype(np.int64), extra=rows[:, 7:]
        )
    extra = _extra_columns(spec)
    if layout == "end2end":
        _expect(output, spec, axes=3, columns=6 + extra)
        if spec.inferred:
            check_whole(output[row, :, 5], spec, "class number")
            check_scores(output[row, :, 4], spec, least=-1)
        check_numbers(output[row, :, 4])
        rows = output[row][output[row, :, 4] > conf]
        return Candidates(
            boxes=rows[:, :4], scores=rows[:, 4], class_ids=rows[:, 5].astype(np.int64), extra=rows[:, 6:]
        )
    if layout == "yolo":
        columns = 4 + spec.num_classes + extra if spec.num_classes else None
        _expect(output, spec, axes=3, columns=columns, axis=1)
        if spec.inferred:
            check_scores(output[row, 4 : output.shape[1] - extra], spec)
        return _anchor_free(output[row], spec, extra, conf, every_class=every_class)
    if layout == "yolov5":
        _expect(output, spec, axes=3, columns=5 + spec.num_classes + extra if spec.num_classes else None)
        if spec.inferred:
            check_scores(output[row, :, 4 : output.shape[2] - extra], spec)
        return _with_objectness(output[row], spec, extra, input_size, conf, every_class=every_class)
    raise ModelError(f"The layout {layout!r} holds no detections.")


def read_postprocessed(
    outputs: Mapping[str, np.ndarray], row: int, spec: ModelSpec, conf: float, limit: int
) -> Candidates:
    """Rows of one image of a graph that has chosen them itself, best first.

    Args:
        outputs: Of the layout ``detections``, for the whole batch.
        row: Index of the image in the batch.
        spec: The model's contract.
        conf: Lowest score, exclusive.
        limit: Most rows.

    Returns:
        Detections in pixels of the graph's input. ``extra`` holds the keypoints or mask coefficients;
        rotated boxes are centre x, centre y, width, height, and the angle in ``extra``.

    Raises:
        ModelError: an output has another shape than the contract says, or a score is NaN.
    """
    count = int(outputs["count"][row])
    scores = outputs["scores"][row, :count]
    check_numbers(scores)
    rows = np.flatnonzero(scores > conf)[:limit]
    boxes, extra = outputs["boxes"][row][rows], np.empty((len(rows), 0), np.float32)
    if spec.task == "obb":
        rotated = outputs["rotated_boxes"][row][rows]
        boxes, extra = rotated[:, :4], rotated[:, 4:]
    for name in ("keypoints", "mask_coefficients"):
        if name in outputs:
            values = outputs[name][row][rows]
            extra = values.reshape(len(rows), int(np.prod(values.shape[1:])))
    if boxes.shape != (len(rows), 4) or scores.ndim != 1:
        raise ModelError(
            f"Finished detections want boxes [N, K, 4] and scores [N, K], the graph gave "
            f"{list(outputs['boxes'].shape)} and {list(outputs['scores'].shape)}."
        )
    class_ids = outputs["classes"][row][rows].astype(np.int64)
    return Candidates(boxes=boxes, scores=scores[rows], class_ids=class_ids, extra=extra)


def _extra_columns(spec: ModelSpec) -> int:
    output = spec.output
    counts = {"segment": output.mask_channels, "pose": output.keypoints[0] * output.keypoints[1], "obb": 1}
    return counts.get(spec.task, 0)


def _expect(output: np.ndarray, spec: ModelSpec, *, axes: int, columns: int | None, axis: int = -1) -> None:
    if output.ndim != axes or (columns is not None and output.shape[axis] != columns):
        raise ModelError(
            f"A {spec.task} head of layout {spec.output.layout!r} gives {columns or 'some'} values per"
            f" detection, the graph gave {list(output.shape)}.",
            hint="Is the number of classes right? `deploykit inspect` shows what the file says.",
        )


def _anchor_free(
    head: np.ndarray, spec: ModelSpec, extra: int, conf: float, *, every_class: bool
) -> Candidates:
    """[4 + C + E, A]: one row per value, so that the search for the best class runs along memory."""
    best = head[4 : len(head) - extra].max(0)  # NaN where one of them is
    check_numbers(best)
    chosen = np.flatnonzero(best > conf)
    head = head[:, chosen]
    scores = head[4 : len(head) - extra]
    found = Candidates(
        boxes=_boxes(head[:4].T, spec),
        scores=scores.max(0),
        class_ids=scores.argmax(0),
        extra=head[len(head) - extra :].T,
    )
    return _of_every_class(found, scores.T, conf) if every_class else found


def _with_objectness(
    head: np.ndarray,
    spec: ModelSpec,
    extra: int,
    input_size: tuple[int, int],
    conf: float,
    *,
    every_class: bool,
) -> Candidates:
    """[A, 5 + C + E]; the score is objectness times class."""
    if not spec.output.decoded:
        head = _decode_grid(head, input_size, spec.output.strides or _YOLOX_STRIDES)
    check_numbers(head[:, 4])
    head = head[head[:, 4] > conf]
    scores = head[:, 5 : head.shape[1] - extra] * head[:, 4:5]
    class_ids = scores.argmax(1)
    best = scores[np.arange(len(scores)), class_ids]  # NaN where one of them is
    check_numbers(best)
    keep = best > conf
    head = head[keep]
    found = Candidates(
        boxes=_boxes(head[:, :4], spec),
        scores=best[keep],
        class_ids=class_ids[keep],
        extra=head[:, head.shape[1] - extra :],
    )
    return _of_every_class(found, scores[keep], conf) if every_class else found


def _of_every_class(found: Candidates, scores: np.ndarray, conf: float) -> Candidates:
    """A row for each class above ``conf``; ``scores`` are those of all classes, [n, C]."""
    rows, class_ids = np.nonzero(scores > conf)
    return Candidates(
        boxes=found.boxes[rows],
        scores=scores[rows, class_ids],
        class_ids=class_ids.astype(np.int64),
        extra=found.extra[rows],
    )


def _decode_grid(head: np.ndarray, size: tuple[int, int], strides: tuple[int, ...]) -> np.ndarray:
    """YOLOX's raw head: centres relative to their cell, logarithms of the sides, in units of the stride."""
    cells, scales = [], []
    for stride in strides:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        scales.append(np.full((x.size, 1), stride))
    cell = np.concatenate(cells).astype(np.float32)
    scale = np.concatenate(scales).astype(np.float32)
    if len(cell) != len(head):
        raise ModelError(
            f"A {size[0]}x{size[1]} input has {len(cell)} cells at the strides {strides},"
            f" the graph gave {len(head)}."
        )
    centres, sides = (head[:, :2] + cell) * scale, np.exp(head[:, 2:4]) * scale
    return np.concatenate([centres, sides, head[:, 4:]], axis=1)


def _boxes(xywh: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Corners of upright boxes; rotated ones keep their centre and sides."""
    if spec.task == "obb":
        return np.ascontiguousarray(xywh)
    centre, half = xywh[:, :2], xywh[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)
