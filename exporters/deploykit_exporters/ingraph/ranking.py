"""The highest scores in one order everywhere.

ONNX's TopK puts the lower index first where values are equal. ONNX Runtime does, OpenVINO and TensorRT do
not, and equal scores are common: sigmoids saturate, and a quantised network knows 256 values.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["first_of", "ranked"]


def ranked(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest scores, the lower index first where they are equal. Can be scripted.

    Args:
        scores: float32 [N, A], without NaN.
        count: K, at most A.

    Returns:
        Scores float32 [N, K], highest first, and their indices, int64 [N, K].
    """
    least = torch.topk(scores, count, 1)[0].amin(1, keepdim=True)
    # Numbers that no two share: above all others what is above the least score, and then by index.
    total = scores.shape[1]
    keys = torch.arange(total, 0, -1).to(torch.float32)
    keys = torch.where(scores > least, keys + total, keys)
    index = torch.topk(torch.where(scores >= least, keys, torch.zeros_like(scores)), count, 1)[1]
    values = scores.gather(1, index)
    place = torch.arange(count)
    row, column = values.unsqueeze(2), values.unsqueeze(1)
    ahead = (column > row) | ((column == row) & (place.unsqueeze(1) > place))
    rank = ahead.to(torch.float32).sum(2).to(torch.int64)
    index = torch.zeros_like(index).scatter(1, rank, index)
    return scores.gather(1, index), index


def first_of(scores: Tensor, count: int) -> Tensor:
    """Indices of the first ``count`` scores above 0 in [N, M], then of any others, int64 [N, count]."""
    keys = torch.arange(scores.shape[1], 0, -1).to(torch.float32)
    return torch.topk(torch.where(scores > 0, keys, torch.zeros_like(scores)), count, 1)[1]
