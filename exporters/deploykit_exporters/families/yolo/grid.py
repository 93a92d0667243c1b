"""What the heads of YOLOv5 and YOLOX share: the cells of their output maps, computed in the graph from the
input's shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cells"]


def cells(feature: Tensor) -> Tensor:
    """Column and row of every position of a feature map, row by row.

    Computed from the shape at run time: a grid kept as a constant would freeze height and width of
    an exported graph.

    Args:
        feature: [N, C, H, W].

    Returns:
        [H * W, 2] (x, y) in cells, of the feature's dtype and device.
    """
    height, width = feature.shape[2:]
    x = torch.arange(width, dtype=feature.dtype, device=feature.device)
    y = torch.arange(height, dtype=feature.dtype, device=feature.device)[:, None]
    # Sums broadcast in one ONNX node; expand() to a size known at run time takes six.
    return torch.stack((x + 0 * y, 0 * x + y), dim=2).reshape(-1, 2)
