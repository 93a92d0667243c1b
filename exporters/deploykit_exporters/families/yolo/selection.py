"""The selection of an end-to-end YOLO head, written so that every size can be traced."""

from __future__ import annotations

import torch

__all__ = ["select_detections"]


def select_detections(predictions: torch.Tensor, num_classes: int, limit: int) -> torch.Tensor:
    """The best detections of each image, best first.

    It takes the ``limit`` anchors with the highest class score, then the ``limit`` highest scores among all
    their classes. If there are fewer anchors there are fewer rows; a trace keeps that as a function of the
    image size, whereas a Python ``min`` would freeze the number at the traced size.

    Args:
        predictions: [N, A, 4 + num_classes + extra]: boxes, activated scores, anything else.
        num_classes: Number of classes.
        limit: The largest number of rows to return.

    Returns:
        [N, min(limit, A), 6 + extra]: box, score, class, extra.

    Source: "YOLOv10: Real-Time End-to-End Object Detection" (Wang et al., 2024).
    """
    scores = predictions[..., 4 : 4 + num_classes]
    rows = _smaller(limit, predictions)
    anchors = scores.amax(dim=-1).topk(rows, dim=1).indices
    best, place = _pick(scores, anchors).flatten(1).topk(rows, dim=1)
    chosen = _pick(predictions, anchors.gather(1, place // num_classes))
    classes = (place % num_classes).to(best.dtype)
    parts = (chosen[..., :4], best[..., None], classes[..., None], chosen[..., 4 + num_classes :])
    return torch.cat(parts, dim=-1)


def _smaller(limit: int, predictions: torch.Tensor) -> int:
    if not torch._C._get_tracing_state():
        return min(limit, predictions.shape[1])
    anchors = torch._shape_as_tensor(predictions)[1]
    return torch.minimum(torch.tensor(limit), anchors)  # type: ignore[return-value]


def _pick(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """[N, A, C] and [N, K] -> [N, K, C]."""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))
