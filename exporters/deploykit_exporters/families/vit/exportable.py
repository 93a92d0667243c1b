"""The same ViT as in ``families/vit/network.py``, in a form that exports to a small and fast graph.

Plain MatMul and Softmax instead of fused attention, position embeddings resampled by matrix products
(or a constant), and, if only the class token is read, a last block that computes nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from deploykit_exporters.families.vit.network import ViT, position_grid, prefix_tokens
from deploykit_exporters.families.vit.pooling import class_tokens_and_mean
from deploykit_exporters.families.vit.positions import GridPositions, resample_grid

__all__ = ["ExportableViT"]


class ExportableViT(nn.Module):
    """The exportable form, which shares its weights with the reference.

    Args:
        reference: The model to export.
        size: (height, width) in pixels if the graph only takes this size; None resamples the
            position embeddings inside the graph.
    """

    fixed_positions: torch.Tensor

    def __init__(self, reference: ViT, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.net = net = reference.net
        self.features = reference.features
        self.pooler = reference.pooler
        self.head_layers = 0 if self.features else reference.head_layers
        grid, how = position_grid(net), reference.resampling
        prefix = prefix_tokens(net)
        self.prefix = prefix.shape[1]
        if size is None:
            self.register_buffer("fixed_positions", prefix, persistent=False)
            self.positions: GridPositions | None = GridPositions(grid, how)
        else:
            patch = net.patch_embed.patch_size
            resampled = resample_grid(grid, (size[0] // patch[0], size[1] // patch[1]), how)
            self.register_buffer("fixed_positions", torch.cat([prefix, resampled], 1), persistent=False)
            self.positions = None
        reads_prefix = not self.features and net.global_pool == "token" and not self.head_layers
        # Of the last block's output only these tokens are read; None: all.
        self.read = (1 + hasattr(net, "dist_token")) if reads_prefix else None

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Images [N, C, H, W] to what the reference returns."""
        net = self.net
        tokens, count = self._embed(net.patch_embed.proj(images))
        states = [net.norm_pre(tokens)]
        for block in net.blocks[:-1]:
            states.append(_block(block, states[-1], count, None))
        states.append(_block(net.blocks[-1], states[-1], count, self.read))
        if self.head_layers:
            return net.head(class_tokens_and_mean(net, states[-self.head_layers :]))  # type: ignore[no-any-return]
        tokens = net.norm(states[-1])
        if not self.features:
            return net.forward_head(tokens)  # type: ignore[no-any-return]
        pooled = net.forward_head(tokens, pre_logits=True)
        return tokens, pooled if self.pooler is None else self.pooler(pooled)

    def _embed(self, patches: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Patches [N, D, rows, columns] to tokens with positions [N, T, D], and T.

        The prefix tokens are added to zeros in front of the patches; unlike a concatenation, this needs no
        expansion to the batch size.
        """
        width = patches.shape[1]
        if self.positions is None:
            positions = self.fixed_positions
            count = positions.shape[1]
        else:
            rows, columns = patches.shape[2], patches.shape[3]
            positions = torch.cat([self.fixed_positions, self.positions(rows, columns)], dim=1)
            count = rows * columns + self.prefix
        tokens = patches.reshape(-1, width, count - self.prefix).transpose(1, 2)
        tokens = self.net.patch_embed.norm(tokens)
        if self.prefix:
            tokens = F.pad(tokens, (0, 0, self.prefix, 0))
        return tokens + positions, count


def _block(block: Any, tokens: torch.Tensor, count: int, read: int | None) -> torch.Tensor:
    attended = block.ls1(_attention(block.attn, block.norm1(tokens), count, read))
    tokens = (tokens if read is None else tokens[:, :read]) + attended
    return tokens + block.ls2(block.mlp(block.norm2(tokens)))  # type: ignore[no-any-return]


def _attention(attn: Any, tokens: torch.Tensor, count: int, read: int | None) -> torch.Tensor:
    """Self-attention of the first ``read`` tokens (None: all) to all ``count`` tokens [N, T, D]."""
    query, key, value = _heads(attn, tokens, count, read)
    query, key = attn.q_norm(query) * attn.scale, attn.k_norm(key)
    weights = (query @ key.transpose(-2, -1)).softmax(dim=-1)
    mixed = (weights @ value).transpose(1, 2).reshape(-1, read or count, attn.proj.in_features)
    mixed = attn.norm(mixed) if hasattr(attn, "norm") else mixed  # which older releases of timm do not have
    return attn.proj(mixed)  # type: ignore[no-any-return]


def _heads(attn: Any, tokens: torch.Tensor, count: int, read: int | None) -> tuple[torch.Tensor, ...]:
    """Query, key and value, each [N, heads, T, head_dim]."""
    heads, size = attn.num_heads, attn.head_dim
    if read is None:
        packed = attn.qkv(tokens).reshape(-1, count, 3, heads, size).permute(2, 0, 3, 1, 4)
        return packed.unbind(0)  # type: ignore[no-any-return]
    width = heads * size
    weight, bias = attn.qkv.weight, attn.qkv.bias
    first, rest = (None, None) if bias is None else (bias[:width], bias[width:])
    query = F.linear(tokens[:, :read], weight[:width], first).reshape(-1, read, heads, size)
    packed = F.linear(tokens, weight[width:], rest).reshape(-1, count, 2, heads, size)
    key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
    return query.transpose(1, 2), key, value
