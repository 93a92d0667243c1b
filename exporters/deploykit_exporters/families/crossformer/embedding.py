"""CrossFormer's cross-scale embedding: convolutions of several kernel sizes over the same grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CrossScaleEmbedding", "CrossScaleMerging"]


class CrossScaleEmbedding(nn.Module):
    """Image to tokens: [B, C, H, W] -> [B, H // stride, W // stride, dim].

    All kernels are centred on the same patch, so that they give the same grid; the smallest
    one is the stride. Half of the channels come from the smallest kernel, a quarter from the next,
    and so on (CrossFormer, ICLR 2022, section 3.1).
    """

    def __init__(self, channels: int, dim: int, kernels: tuple[int, ...], *, norm: bool = True) -> None:
        super().__init__()
        self.projs = _cross_scale_convolutions(channels, dim, kernels, stride=kernels[0])
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        tokens = torch.cat([proj(images) for proj in self.projs], dim=1)
        return self.norm(tokens.permute(0, 2, 3, 1))  # type: ignore[no-any-return]


class CrossScaleMerging(nn.Module):
    """Merges the tokens of one stage into those of the next: [B, H, W, C] -> [B, H // 2, W // 2, 2 * C].

    The official code asserts even H and W; here an odd last row or column is seen by the larger
    kernels only, which is what the same convolutions do in the embedding.
    """

    def __init__(self, dim: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.reductions = _cross_scale_convolutions(dim, 2 * dim, kernels, stride=2)

    def forward(self, tokens: Tensor) -> Tensor:
        maps = self.norm(tokens).permute(0, 3, 1, 2)
        merged = torch.cat([reduction(maps) for reduction in self.reductions], dim=1)
        return merged.permute(0, 2, 3, 1)


def _cross_scale_convolutions(
    channels: int, dim: int, kernels: tuple[int, ...], *, stride: int
) -> nn.ModuleList:
    """One convolution per kernel size; smaller kernels get more of the ``dim`` output channels."""
    last = len(kernels) - 1
    return nn.ModuleList(
        nn.Conv2d(
            channels,
            dim // 2 ** min(level + 1, last),
            kernel,
            stride=stride,
            padding=(kernel - stride) // 2,
        )
        for level, kernel in enumerate(kernels)
    )
