"""How much boxes overlap, as ``deploykit_runtimes.answers.nms`` measures it. Can be scripted."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["overlaps", "rotated_overlaps"]


def overlaps(boxes: Tensor, rows: int) -> Tensor:
    """IoU of the last ``rows`` boxes of [N, 4, M] with all of them, [N, rows, M]; NaN for empty boxes."""
    left, top, right, bottom = boxes.select(1, 0), boxes.select(1, 1), boxes.select(1, 2), boxes.select(1, 3)
    areas = (right - left) * (bottom - top)
    last = boxes[:, :, -rows:].unsqueeze(3)
    width = torch.minimum(last.select(1, 2), right.unsqueeze(1)) - torch.maximum(
        last.select(1, 0), left.unsqueeze(1)
    )
    height = torch.minimum(last.select(1, 3), bottom.unsqueeze(1)) - torch.maximum(
        last.select(1, 1), top.unsqueeze(1)
    )
    shared = torch.relu(width) * torch.relu(height)
    return shared / (areas[:, -rows:].unsqueeze(2) + areas.unsqueeze(1) - shared)


def rotated_overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Probabilistic IoU (https://arxiv.org/abs/2106.06072) of [N, 5, n] and [N, 5, m], [N, n, m]."""
    eps = 1e-7
    one, other = _covariance(first).unsqueeze(3), _covariance(second).unsqueeze(2)
    across = first.select(1, 0).unsqueeze(2) - second.select(1, 0).unsqueeze(1)
    down = first.select(1, 1).unsqueeze(2) - second.select(1, 1).unsqueeze(1)
    both = one + other
    a, b, c = both.select(1, 0), both.select(1, 1), both.select(1, 2)
    determinant = a * b - c * c
    mahalanobis = (a * (down * down) + b * (across * across)) / (determinant + eps) / 4
    mahalanobis = mahalanobis - c * across * down / (determinant + eps) / 2
    volumes = torch.sqrt(_determinant(one) * _determinant(other))
    shape = torch.log(determinant / (4 * volumes + eps) + eps) / 2
    distance = torch.clamp(mahalanobis + shape, eps, 100.0)
    return 1 - torch.sqrt(1 - torch.exp(-distance) + eps)


def _determinant(covariance: Tensor) -> Tensor:
    a, b, c = covariance.select(1, 0), covariance.select(1, 1), covariance.select(1, 2)
    return torch.relu(a * b - c * c)


def _covariance(boxes: Tensor) -> Tensor:
    """a, b, c of [[a, c], [c, b]], the uniform distribution over each rotated box: [N, 5, n] to [N, 3, n]."""
    width, height = boxes.select(1, 2), boxes.select(1, 3)
    width, height = width * width / 12, height * height / 12
    cos, sin = torch.cos(boxes.select(1, 4)), torch.sin(boxes.select(1, 4))
    a = width * (cos * cos) + height * (sin * sin)
    b = width * (sin * sin) + height * (cos * cos)
    return torch.stack([a, b, (width - height) * cos * sin], 1)
