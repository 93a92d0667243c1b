"""Finished detections inside the graph: the head's answers, suppressed, in pixels of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from deploykit_runtimes.contract.spec import ModelSpec, OutputSpec
from torch import Tensor, nn
from torch.onnx.operators import shape_as_tensor

from deploykit_exporters.ingraph.detection.candidates import READERS, Candidates
from deploykit_exporters.ingraph.detection.instance_masks import MaskAxis, instance_masks, mask_axis
from deploykit_exporters.ingraph.detection.suppression import Kept, Suppression, best
from deploykit_exporters.ingraph.operators import arange
from deploykit_exporters.ingraph.ranking import first_of

if TYPE_CHECKING:
    from deploykit_exporters.ingraph.preprocess import InGraphPreprocess, Placement

__all__ = ["DetectionAnswers"]


class DetectionAnswers(nn.Module):
    """Heads of a detector, in float32, to the outputs of the layout ``detections``.

    Args:
        core: The contract of the network that gives the heads.
        finished: What is to be returned, and the thresholds.
        preprocess: The pre-processing in the same graph, which knows the way back to the image; None where
            boxes are to stay in pixels of the tensor.
    """

    conf: Tensor
    iou: Tensor

    def __init__(self, core: ModelSpec, finished: OutputSpec, preprocess: InGraphPreprocess | None) -> None:
        super().__init__()
        self.core = core
        self.finished = finished
        self.preprocess = preprocess
        self.suppression: Suppression | None = None
        if not (core.output.nms or core.output.layout == "end2end"):
            self.suppression = Suppression(
                limit=finished.max_det, rotated=core.task == "obb", class_agnostic=finished.class_agnostic
            )
        for name in ("conf", "iou"):
            self.register_buffer(name, torch.tensor(getattr(finished, name)), persistent=False)

    def forward(self, images: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """Images as the graph takes them, the heads, and the thresholds where they are inputs."""
        # A score of 0 marks padding, so that no threshold can be below it.
        conf, iou = (
            (values[-2].relu(), values[-1]) if self.finished.runtime_thresholds else (self.conf, self.iou)
        )
        frame = _Frame(images, self.preprocess)
        layout, limit = self.core.output.layout, self.finished.max_det
        found = READERS[layout](values[0], self.core, conf, frame.tensor_size)
        if self.suppression is None:
            kept = best(found, limit, named=layout == "end2end")
        else:
            kept = self.suppression(found, iou)
        answers = {}
        if "masks" in self.finished.names:
            kept, answers["masks"] = self._masks(frame, kept, self._extra(found, kept), values[1])
        valid = kept.scores > 0
        located = self._located(frame, kept.boxes, self._extra(found, kept))
        for name, value in located.items():
            shown = valid[(..., *[None] * (value.ndim - 2))]
            answers[name] = torch.where(shown, value, 0.0)
        answers["scores"] = kept.scores
        answers["classes"] = torch.where(valid, kept.classes, -1.0).to(torch.int64)
        answers["count"] = valid.to(torch.int64).sum(1)
        if "prototypes" in self.finished.names:
            answers["prototypes"] = values[1]
        return tuple(answers[name] for name in self.finished.names)

    def _extra(self, found: Candidates, kept: Kept) -> Tensor:
        """Keypoints or mask coefficients, [N, K, E]."""
        numbers = torch.zeros(found.extra.shape[1], 1, dtype=torch.int64)
        return found.extra.gather(2, kept.anchors[:, None] + numbers).transpose(1, 2)

    def _masks(
        self, frame: _Frame, kept: Kept, coefficients: Tensor, prototypes: Tensor
    ) -> tuple[Kept, Tensor]:
        """Masks uint8 [N, K, H, W], and the detections without those whose mask is empty in the tensor."""
        limit, batch = self.finished.max_det, shape_as_tensor(prototypes)[0]
        valid = kept.scores > 0
        boxes = torch.where(valid[..., None], kept.boxes, 0.0)
        count = valid.to(torch.int64).sum(1).amax()
        rows, columns = frame.mask_axes()
        masks, seen = instance_masks(
            prototypes, coefficients, boxes, count, rows=rows, columns=columns, limit=limit
        )
        scores = torch.where(seen.transpose(0, 1), kept.scores, 0.0)
        order = first_of(scores, limit)
        numbers = kept.rows.gather(1, order[..., None] + torch.zeros(kept.rows.shape[2], dtype=torch.int64))
        place = order * batch + arange(batch)[:, None]
        return Kept(scores.gather(1, order), numbers), masks.flatten(0, 1)[place].to(torch.uint8)

    def _located(self, frame: _Frame, boxes: Tensor, extra: Tensor) -> dict[str, Tensor]:
        """Boxes and what else the task tells, in pixels of the graph's input."""
        if self.core.task == "obb":
            rotated = frame.rotated(boxes)
            return {"rotated_boxes": rotated, "boxes": _around(rotated).flatten(2)}
        answers = {
            "boxes": frame.clipped(frame.points(boxes.reshape(-1, self.finished.max_det, 2, 2))).flatten(2)
        }
        if self.core.task == "segment":
            answers["mask_coefficients"] = extra
        if self.core.task == "pose":
            points = extra.reshape(-1, self.finished.max_det, *self.core.output.keypoints)
            inside = frame.clipped(frame.points(points[..., :2]))
            answers["keypoints"] = torch.cat([inside, points[..., 2:]], 3)
        return answers


class _Frame:
    """The way from the tensor to the image, as ``Geometry`` of the host; none without pre-processing."""

    def __init__(self, images: Tensor, preprocess: InGraphPreprocess | None) -> None:
        self.place: Placement | None = None if preprocess is None else preprocess.place(images)
        if self.place is None:
            self.tensor_size = shape_as_tensor(images)[2:4]
            return
        self.tensor_size = self.place.input_size
        self.gain = _xy(self.place.resized) / _xy(self.place.size)
        self.image_size = _xy(shape_as_tensor(images)[1:3])

    def mask_axes(self) -> tuple[MaskAxis, MaskAxis]:
        """How the rows and columns of the graph's input sample the tensor."""
        size = resized = self.tensor_size
        offset = torch.zeros_like(size)
        if self.place is not None:
            size, resized, offset = self.place.size, self.place.resized, self.place.offset
        rows, columns = (mask_axis(size[axis], resized[axis], offset[axis]) for axis in (0, 1))
        return rows, columns

    def points(self, points: Tensor) -> Tensor:
        """Map x, y of [..., 2]."""
        if self.place is None:
            return points
        return (points - _xy(self.place.offset)) / self.gain + _xy(self.place.corner)

    def clipped(self, points: Tensor) -> Tensor:
        """x, y of [..., 2] within the image."""
        if self.place is None:
            return points
        return torch.minimum(points.relu(), self.image_size)

    def rotated(self, boxes: Tensor) -> Tensor:
        """Map x, y, width, height, angle of [..., 5]."""
        if self.place is None:
            return boxes
        return torch.cat([self.points(boxes[..., :2]), boxes[..., 2:4] / self.gain, boxes[..., 4:]], -1)


def _xy(sizes: Tensor) -> Tensor:
    """Vertical and horizontal int64 [2] as horizontal and vertical float32 [2]."""
    return sizes.flip(0).to(torch.float32)


def _around(rotated: Tensor) -> Tensor:
    """The upright boxes around rotated ones, [..., 5] to corners [..., 2, 2]."""
    centre, half, angle = rotated[..., :2], rotated[..., 2:4] / 2, rotated[..., 4:]
    cos, sin = torch.cos(angle).abs(), torch.sin(angle).abs()
    reach = half[..., :1] * torch.cat([cos, sin], -1) + half[..., 1:] * torch.cat([sin, cos], -1)
    return torch.stack([centre - reach, centre + reach], -2)
