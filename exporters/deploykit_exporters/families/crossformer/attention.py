"""Multi-head self-attention within the groups of CrossFormer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deploykit_exporters.families.crossformer.grouping import Groups
from deploykit_exporters.families.crossformer.position_bias import DynamicPositionBias

__all__ = ["GroupAttention"]


class GroupAttention(nn.Module):
    """Attention among the members of each group, with dynamic position bias.

    Args:
        dim: Channels of a token.
        heads: Number of heads; each has ``dim // heads`` channels.
        position_hidden: Width of the position bias MLP.
        qkv_bias: Whether query, key and value have a bias.
    """

    def __init__(self, dim: int, heads: int, position_hidden: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.scale = float((dim // heads) ** -0.5)
        self.pos: nn.Module = DynamicPositionBias(position_hidden, heads)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, groups: Groups) -> Tensor:
        """[B, H, W, C] -> [B, H, W, C]."""
        members = groups.height * groups.width
        dim = tokens.shape[-1]
        x = groups.split(tokens)
        heads = self.qkv(x).reshape(-1, members, 3 * self.heads, dim // self.heads).transpose(1, 2)
        query, key, value = heads.split(self.heads, dim=1)
        logits = (query * self.scale) @ key.transpose(-2, -1) + self.pos(groups.offsets)
        if groups.mask is not None:
            logits = self._add_mask(logits, groups.mask)
        mixed = torch.softmax(logits, dim=-1) @ value
        return groups.join(self.proj(mixed.transpose(1, 2).reshape(-1, members, dim)))

    def _add_mask(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Add a mask [groups, 1, 1, N] to logits [B * groups, heads, N, N]."""
        members = mask.shape[-1]
        per_image = logits.reshape(-1, mask.shape[0], self.heads, members, members)
        return (per_image + mask).reshape(-1, self.heads, members, members)
