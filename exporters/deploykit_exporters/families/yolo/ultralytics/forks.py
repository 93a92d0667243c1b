"""Modules that forks of ultralytics pickle under the names of the released package.

Its sub-modules show which one a pickled module is: the released ``AAttn`` (YOLO12) has one ``qkv``
convolution, that of the YOLOv12 authors has ``qk`` and ``v``.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["SplitAreaAttention", "fork_class"]


def fork_class(path: str, children: frozenset[str]) -> type[nn.Module] | None:
    """Our module for a pickled one with sub-modules that the released class does not have, or None."""
    if path.endswith(".AAttn") and {"qk", "v", "proj"} <= children:
        return SplitAreaAttention
    return None


class SplitAreaAttention(nn.Module):
    """Area attention with separate query-key and value convolutions.

    The map is cut into ``area`` horizontal bands of equal height and width (``H * W`` must divide by
    ``area``), and each position attends to its own band: softmax(q k^T / sqrt(head_dim)) v. The
    position encoding, a depth-wise convolution of the values, is added before the projection.

    Source: "YOLOv12: Attention-Centric Real-Time Object Detectors" (Tian et al., 2025) and the
    authors' repository (ultralytics/nn/modules/block.py, the turbo models).
    """

    area: int
    num_heads: int
    head_dim: int
    qk: nn.Module
    v: nn.Module
    proj: nn.Module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        N, _, H, W = x.shape
        width = self.num_heads * self.head_dim
        value = self.v(x)
        query, key = self.qk(x).split(width, dim=1)
        q, k, v = (self._heads(tensor, N, H * W) for tensor in (query, key, value))
        attention = ((q * self.head_dim**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        y = (attention @ v).transpose(-2, -1)  # [N, heads, area, head_dim, positions]
        y = y.transpose(2, 3).reshape(N, width, H, W)
        pe = self._modules.get("pe")
        return self.proj(y if pe is None else y + pe(value))  # type: ignore[no-any-return]

    def _heads(self, x: torch.Tensor, batch: int, positions: int) -> torch.Tensor:
        """[N, heads * head_dim, H, W] -> [N, heads, area, H * W / area, head_dim]."""
        x = x.reshape(batch, self.num_heads, self.head_dim, self.area, positions // self.area)
        return x.permute(0, 1, 3, 4, 2)
