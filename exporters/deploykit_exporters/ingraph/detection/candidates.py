"""The heads of detectors, read inside the graph: what scores above ``conf``, and its box."""

from __future__ import annotations

from typing import NamedTuple

import torch
from deploykit_runtimes.contract.spec import ModelSpec
from torch import Tensor
from torch.onnx.operators import shape_as_tensor

from deploykit_exporters.ingraph.operators import arange, divide

__all__ = ["READERS", "Candidates", "extra_columns"]

_YOLOX_STRIDES = (8, 16, 32)


class Candidates(NamedTuple):
    """What the A anchors of a head say, for a batch of N.

    The class of an anchor is the best of ``class_scores[:, anchor * step + places]``, times
    ``weights[:, anchor]``: that is looked up only for the few anchors that matter. A head that names the
    class itself has one place, which holds its number.

    Attributes:
        scores: Score of the best class where it is above ``conf``, 0 elsewhere (and for NaN), float32 [N, A].
        boxes: float32 [N, G, A]: corners in pixels of the tensor, G = 4; or centre, sides and angle, G = 5.
        extra: Keypoints, mask coefficients or the angle, float32 [N, E, A].
        class_scores: The whole head, float32 [N, F].
        weights: Objectness, float32 [N, A]; ones where a head has none.
        step: int64 [].
        places: int64 [C].
    """

    scores: Tensor
    boxes: Tensor
    extra: Tensor
    class_scores: Tensor
    weights: Tensor
    step: Tensor
    places: Tensor


def extra_columns(spec: ModelSpec) -> int:
    """Values per detection beyond box and classes: mask coefficients, keypoints or the angle."""
    output = spec.output
    counts = {"segment": output.mask_channels, "pose": output.keypoints[0] * output.keypoints[1], "obb": 1}
    return counts.get(spec.task, 0)


def _anchor_free(head: Tensor, spec: ModelSpec, conf: Tensor, size: Tensor) -> Candidates:  # noqa: ARG001
    """Layout ``yolo``: [N, 4 + C + E, A]."""
    last = 4 + spec.num_classes
    scores, extra = head[:, 4:last].amax(1), head[:, last:]
    return Candidates(
        scores=_above(scores, conf),
        boxes=_boxes(head[:, :2], head[:, 2:4], extra, spec),
        extra=extra,
        class_scores=head.flatten(1),
        weights=torch.ones_like(scores),
        step=torch.tensor(1),
        places=torch.arange(4, last) * shape_as_tensor(head)[2],
    )


def _with_objectness(head: Tensor, spec: ModelSpec, conf: Tensor, size: Tensor) -> Candidates:
    """Layout ``yolov5``: [N, A, 5 + C + E]; the score is objectness times class."""
    last = 5 + spec.num_classes
    objectness, extra = head[..., 4], head[..., last:].transpose(1, 2)
    centres, sides = head[..., :2].transpose(1, 2), head[..., 2:4].transpose(1, 2)
    if not spec.output.decoded:
        cells, strides = _grid(size, spec.output.strides or _YOLOX_STRIDES)
        centres, sides = (centres + cells) * strides, torch.exp(sides) * strides
    return Candidates(
        scores=_above(head[..., 5:last].amax(2) * objectness, conf),
        boxes=_boxes(centres, sides, extra, spec),
        extra=extra,
        class_scores=head.flatten(1),
        weights=objectness,
        step=torch.tensor(last + extra_columns(spec)),
        places=torch.arange(5, last),
    )


def _end_to_end(head: Tensor, spec: ModelSpec, conf: Tensor, size: Tensor) -> Candidates:  # noqa: ARG001
    """Layout ``end2end``: [N, A, 6 + E] with corners, score and class."""
    extra = head[..., 6:].transpose(1, 2)
    boxes = head[..., :4].transpose(1, 2)
    return Candidates(
        scores=_above(head[..., 4], conf),
        boxes=torch.cat([boxes, extra[:, -1:]], 1) if spec.task == "obb" else boxes,
        extra=extra,
        class_scores=head.flatten(1),
        weights=torch.ones_like(head[..., 4]),
        step=torch.tensor(6 + extra_columns(spec)),
        places=torch.tensor([5]),
    )


READERS = {"yolo": _anchor_free, "yolov5": _with_objectness, "end2end": _end_to_end}
"""By layout: the head, its contract, the lowest score (exclusive), and the height and width of the tensor."""


def _above(scores: Tensor, conf: Tensor) -> Tensor:
    # In OpenVINO NaN is greater than any number. It is never less.
    return torch.where(conf < scores, scores, 0.0)


def _boxes(centres: Tensor, sides: Tensor, extra: Tensor, spec: ModelSpec) -> Tensor:
    """Corners of upright boxes; rotated ones keep centre and sides, and get their angle."""
    if spec.task == "obb":
        return torch.cat([centres, sides, extra[:, -1:]], 1)
    half = sides / 2
    return torch.cat([centres - half, centres + half], 1)


def _grid(size: Tensor, strides: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Left and top cell numbers [2, A] and stride [A] of YOLOX's anchors, for a tensor of ``size`` (h, w)."""
    cells, scales = [], []
    for stride in strides:
        rows, columns = divide(size[0], stride), divide(size[1], stride)
        number = arange(rows * columns)
        down = divide(number, columns)
        cells.append(torch.stack([number - down * columns, down]))
        scales.append(torch.full_like(number, stride))
    return torch.cat(cells, 1).to(torch.float32), torch.cat(scales).to(torch.float32)
