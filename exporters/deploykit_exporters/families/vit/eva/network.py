"""timm's ``Eva`` (EVA, EVA-02, DINOv3, ViTs with rotary positions) and ``Beit`` (relative positions).

The networks are timm's own. ``ExportableEva`` computes the same in a form that exports well.
"""

from __future__ import annotations

from typing import Any

import torch
from deploykit_runtimes.errors import CheckpointError
from torch import nn
from torch.nn import functional as F

from deploykit_exporters.families.vit.eva.rotary import (
    RotaryGrid,
    depends_on_grid_alone,
    fixed_rotation,
    rotate,
)
from deploykit_exporters.families.vit.positions import GridPositions, Resampling, resample_grid

__all__ = ["EvaNet", "ExportableEva", "check_blocks", "is_resizable"]

_RESAMPLING = Resampling(antialias=True)
_BLOCKS = ("EvaBlock", "EvaBlockPostNorm", "Block")
_ATTENTION = ("EvaAttention", "AttentionRope", "Attention")
# Tables of relative positions are written out for each pair of patches where that is not too much.
_MOST_PAIRS = 1 << 27


def check_blocks(net: Any) -> None:
    """Refuse a network whose blocks differ from those that ``ExportableEva`` computes.

    Raises:
        CheckpointError: names the layer.
    """
    for number, block in enumerate(net.blocks):
        attn = getattr(block, "attn", None)
        for layer, known in ((block, _BLOCKS), (attn, _ATTENTION)):
            if type(layer).__name__ not in known:
                raise CheckpointError(f"blocks.{number} has a {type(layer).__name__}, which is not read.")
        if getattr(attn, "num_kv_groups", 1) != 1:
            raise CheckpointError(f"blocks.{number}.attn has fewer keys than queries, which is not read.")
    if getattr(net.patch_embed, "dynamic_img_pad", False):
        raise CheckpointError("The network pads its images (dynamic_img_pad), which is not read.")


def is_resizable(net: Any) -> bool:
    """Whether the network computes its positions from the actual size."""
    if type(net).__name__ != "Eva":
        return False
    return net.rope is None or depends_on_grid_alone(net.rope)


class EvaNet(nn.Module):
    """The reference: timm's own forward.

    Args:
        net: timm's network; an ``Eva`` with ``dynamic_img_size``.
        features: Return the tokens instead of the head's output.
        with_mean: The head takes the class token and the mean of the patches, [N, 2 * D].
    """

    def __init__(self, net: nn.Module, *, features: bool, with_mean: bool = False) -> None:
        super().__init__()
        self.net: Any = net
        self.features = features
        self.with_mean = with_mean

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Images [N, C, H, W] to logits [N, classes], or to normalised tokens [N, T, D] and pooled [N, D]."""
        return self.answer(self.net.forward_features(images))

    def answer(self, tokens: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Normalised tokens [N, T, D] to what ``forward`` returns."""
        net = self.net
        if self.features:
            return tokens, net.forward_head(tokens, pre_logits=True)
        if self.with_mean:
            mean = tokens[:, net.num_prefix_tokens :].mean(1)
            return net.head(torch.cat([tokens[:, 0], mean], dim=-1))  # type: ignore[no-any-return]
        return net.forward_head(tokens)  # type: ignore[no-any-return]


class ExportableEva(nn.Module):
    """The exportable form, which shares its weights with the reference.

    Args:
        reference: The model to export.
        size: (height, width) in pixels if the graph only takes this size; None computes the positions
            inside the graph.
    """

    prefix: torch.Tensor
    fixed_positions: torch.Tensor

    def __init__(self, reference: EvaNet, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.net = net = reference.net
        self.answer = reference.answer
        prefix, grid = _positions(net)
        self.count = prefix.shape[1]
        self.register_buffer("prefix", prefix, persistent=False)
        high, wide = net.patch_embed.patch_size
        patches = None if size is None else (size[0] // high, size[1] // wide)
        self.positions: GridPositions | None = None
        if grid is not None and patches is None:
            self.positions = GridPositions(grid, _RESAMPLING)
        elif grid is not None and patches is not None:
            resampled = resample_grid(grid, patches, _RESAMPLING)
            self.register_buffer("fixed_positions", torch.cat([prefix, resampled], 1), persistent=False)
        self.has_positions = grid is not None
        self.rope: RotaryGrid | None = None
        self._turn(patches)
        self._relate()

    def _turn(self, patches: tuple[int, int] | None) -> None:
        """Keep the rotations of this grid, or the module that computes them."""
        rope = getattr(self.net, "rope", None)
        self.rotations: list[tuple[torch.Tensor, torch.Tensor]] = []
        if rope is None:
            return
        if patches is None:
            half = bool(getattr(self.net.blocks[0].attn, "rotate_half", False))
            self.rope = RotaryGrid(rope, self.count, half=half)
            return
        table = rope.get_embed(shape=list(patches))
        tables = list(table) if getattr(self.net, "rope_mixed", False) else [table]
        self.rotations = [fixed_rotation(one, self.count) for one in tables]

    def _relate(self) -> None:
        """Keep the relative position biases, [1, heads, T, T] per block; nothing for an ``Eva``."""
        net = self.net
        shared = getattr(net, "rel_pos_bias", None)
        self.shared: torch.Tensor | None = None if shared is None else shared().detach()[None]
        own = [getattr(block.attn, "relative_position_bias_table", None) is not None for block in net.blocks]
        self.relates = any(own)
        area = (net.patch_embed.num_patches + 1) ** 2
        self.biases: list[torch.Tensor] = []
        if self.relates and area * net.blocks[0].attn.num_heads * len(net.blocks) <= _MOST_PAIRS:
            self.biases = [block.attn._get_rel_pos_bias().detach() for block in net.blocks]

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Images [N, C, H, W] to what the reference returns."""
        net = self.net
        tokens, count, rotations = self._embed(net.patch_embed.proj(images))
        if hasattr(net, "norm_pre"):
            tokens = net.norm_pre(tokens)
        for number, block in enumerate(net.blocks):
            rotation = rotations[number if len(rotations) > 1 else 0] if rotations else None
            tokens = _block(block, tokens, count, rotation, self._bias(number))
        return self.answer(net.norm(tokens))

    def _embed(
        self, patches: torch.Tensor
    ) -> tuple[torch.Tensor, int, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Patches [N, D, rows, columns] to tokens [N, T, D], T, and their rotation."""
        rows, columns = patches.shape[2], patches.shape[3]
        rotations = self.rotations if self.rope is None else [self.rope(rows, columns)]
        fixed = hasattr(self, "fixed_positions")
        count = self.fixed_positions.shape[1] if fixed else rows * columns + self.count
        tokens = patches.reshape(-1, patches.shape[1], count - self.count).transpose(1, 2)
        if self.count:
            # Added to zeros in front of the patches, the prefix needs no expansion to the batch.
            tokens = F.pad(tokens, (0, 0, self.count, 0))
        if fixed:
            return tokens + self.fixed_positions, count, rotations
        if self.positions is not None:
            return tokens + torch.cat([self.prefix, self.positions(rows, columns)], 1), count, rotations
        if self.count:
            tokens = tokens + F.pad(self.prefix, (0, 0, 0, count - self.count))
        return tokens, count, rotations

    def _bias(self, number: int) -> torch.Tensor | None:
        own: torch.Tensor | None = None
        if self.relates:
            known = self.biases
            own = known[number] if known else self.net.blocks[number].attn._get_rel_pos_bias()
        if self.shared is None:
            return own
        return self.shared if own is None else own + self.shared


def _positions(net: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Tokens before the patches with their positions [1, P, D], and the patches' positions [rows, columns,
    D].
    """
    names = ("cls_token", "reg_token")
    tokens = [token.detach() for name in names if (token := getattr(net, name, None)) is not None]
    width = net.embed_dim
    prefix = torch.cat(tokens, dim=1) if tokens else torch.zeros(1, 0, width)
    if net.pos_embed is None:
        return prefix, None
    positions: torch.Tensor = net.pos_embed.detach()
    rows, columns = net.patch_embed.grid_size
    if not getattr(net, "no_embed_class", False):
        prefix = prefix + positions[:, : prefix.shape[1]]
    return prefix, positions[0, -rows * columns :].reshape(rows, columns, width)


def _block(
    block: Any,
    tokens: torch.Tensor,
    count: int,
    rotation: tuple[torch.Tensor, torch.Tensor] | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    if type(block).__name__ == "EvaBlockPostNorm":
        tokens = tokens + block.norm1(_attention(block.attn, tokens, count, rotation, bias))
        return tokens + block.norm2(block.mlp(tokens))  # type: ignore[no-any-return]
    attended = _attention(block.attn, block.norm1(tokens), count, rotation, bias)
    tokens = tokens + (attended if block.gamma_1 is None else block.gamma_1 * attended)
    changed: torch.Tensor = block.mlp(block.norm2(tokens))
    return tokens + (changed if block.gamma_2 is None else block.gamma_2 * changed)


def _attention(
    attn: Any,
    tokens: torch.Tensor,
    count: int,
    rotation: tuple[torch.Tensor, torch.Tensor] | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """Self-attention of [N, T, D]."""
    query, key, value = _heads(attn, tokens, count)
    if hasattr(attn, "q_norm"):
        query, key = attn.q_norm(query), attn.k_norm(key)
    if rotation is not None:
        half = bool(getattr(attn, "rotate_half", False))
        query, key = (rotate(one, *rotation, half=half) for one in (query, key))
    weights = (query * attn.scale) @ key.transpose(-2, -1)
    if bias is not None:
        weights = weights + bias
    mixed = (weights.softmax(dim=-1) @ value).transpose(1, 2).reshape(-1, count, attn.proj.in_features)
    if hasattr(attn, "norm"):
        mixed = attn.norm(mixed)
    if getattr(attn, "gate", None) is not None:
        mixed = mixed * attn.gate(tokens).sigmoid()
    return attn.proj(mixed)  # type: ignore[no-any-return]


def _heads(attn: Any, tokens: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Query, key and value, each [N, heads, T, head_dim]."""
    heads = attn.num_heads
    if attn.qkv is None:
        parts = (attn.q_proj(tokens), attn.k_proj(tokens), attn.v_proj(tokens))
        return tuple(
            part.reshape(-1, count, heads, part.shape[-1] // heads).transpose(1, 2) for part in parts
        )
    bias = attn.qkv.bias
    if getattr(attn, "q_bias", None) is not None:
        bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
    packed = F.linear(tokens, attn.qkv.weight, bias)
    size = attn.qkv.out_features // 3 // heads
    packed = packed.reshape(-1, count, 3, heads, size).permute(2, 0, 3, 1, 4)
    return tuple(packed.unbind(0))
