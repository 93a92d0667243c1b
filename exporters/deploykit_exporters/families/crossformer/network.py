"""CrossFormer and CrossFormer++, which no library ships.

Wang et al., "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention" (ICLR 2022)
and "CrossFormer++" (TPAMI 2023). Parameter names are those of the official code, so that official
checkpoints load as they are. Maps are [B, H, W, C] inside the network.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from deploykit_exporters.families.crossformer.attention import GroupAttention
from deploykit_exporters.families.crossformer.embedding import CrossScaleEmbedding, CrossScaleMerging
from deploykit_exporters.families.crossformer.grouping import Grouping, Groups, group_map

__all__ = ["CrossFormer", "CrossFormerConfig", "share_weights"]


@dataclass(frozen=True, kw_only=True)
class CrossFormerConfig:
    """An architecture of the family; one entry per stage in each tuple.

    Attributes:
        widths, depths, heads: Channels, blocks and attention heads.
        groups: Members of a group along each axis.
        intervals: Distance between the members of a long distance group; 0 lets it follow the map,
            so that each group spans all of it (``ADAPT_INTER`` of the official code).
        cooling: Blocks that end in a depth-wise convolution (CrossFormer++); () for CrossFormer.
        mlp_widths, position_widths: Hidden channels of the MLP of a block and of its position bias.
        embed_kernels: Kernels of the patch embedding; the first one is its stride.
        merge_kernels: Kernels of the merging after each stage but the last.
        num_classes: Outputs of the head; 0 gives the feature maps of every stage instead.
        embed_norm: LayerNorm after the patch embedding.
        qkv_bias: Whether query, key and value have a bias.
        channels: Colour channels of the image.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    groups: tuple[int, ...]
    intervals: tuple[int, ...]
    cooling: tuple[tuple[int, ...], ...]
    mlp_widths: tuple[int, ...]
    position_widths: tuple[int, ...]
    embed_kernels: tuple[int, ...] = (4, 8, 16, 32)
    merge_kernels: tuple[tuple[int, ...], ...] = ((2, 4), (2, 4), (2, 4))
    num_classes: int = 1000
    embed_norm: bool = True
    qkv_bias: bool = True
    channels: int = 3


class Mlp(nn.Module):
    """The feed-forward part of a block."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(tokens)))  # type: ignore[no-any-return]


class CrossFormerBlock(nn.Module):
    """Attention within groups, an MLP and, in CrossFormer++, sometimes a cooling layer."""

    def __init__(self, config: CrossFormerConfig, stage: int, block: int) -> None:
        super().__init__()
        dim = config.widths[stage]
        self.norm1 = nn.LayerNorm(dim)
        self.attn = GroupAttention(
            dim, config.heads[stage], config.position_widths[stage], qkv_bias=config.qkv_bias
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, config.mlp_widths[stage])
        self.cools = block in config.cooling[stage]
        if self.cools:
            self.ex_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
            self.ex_ln = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, groups: Groups) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), groups)
        tokens = tokens + self.mlp(self.norm2(tokens))
        if self.cools:
            cooled = self.ex_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            tokens = self.ex_ln(cooled)
        return tokens


class CrossFormerStage(nn.Module):
    """Blocks of one resolution, alternating short and long distance attention.

    Attributes:
        grouping: Divides the map; the forms made for export put another one in its place.
    """

    grouping: Grouping

    def __init__(self, config: CrossFormerConfig, stage: int) -> None:
        super().__init__()
        self.group = config.groups[stage]
        self.interval = config.intervals[stage]
        self.grouping = group_map
        self.blocks = nn.ModuleList(
            CrossFormerBlock(config, stage, block) for block in range(config.depths[stage])
        )
        self.downsample = (
            CrossScaleMerging(config.widths[stage], config.merge_kernels[stage])
            if stage < len(config.depths) - 1
            else nn.Identity()
        )

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The map of this stage, and the input of the next stage."""
        near, far = self.grouping(tokens, self.group, self.interval)
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, far if index % 2 else near)
        return tokens, self.downsample(tokens)


class CrossFormer(nn.Module):
    """The network: logits [B, num_classes], or one [B, C, H/s, W/s] map per stage, s = 4, 8, 16, 32.

    Any image of at least 32 by 32 pixels is accepted. Sizes are rounded down as the convolutions do
    (``H // 4``, then half of that per stage); the official code asserts that the halves are whole.
    Weights are freshly initialised; nothing is random in eval mode.
    """

    def __init__(self, config: CrossFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = CrossScaleEmbedding(
            config.channels, config.widths[0], config.embed_kernels, norm=config.embed_norm
        )
        self.layers = nn.ModuleList(CrossFormerStage(config, stage) for stage in range(len(config.depths)))
        if config.num_classes:
            self.norm = nn.LayerNorm(config.widths[-1])
            self.head = nn.Linear(config.widths[-1], config.num_classes)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """[B, C, H, W] -> logits, or a map per stage."""
        tokens = self.patch_embed(images)
        maps: list[Tensor] = []
        for stage in self.layers:
            stage_map, tokens = stage(tokens)
            maps.append(stage_map)
        if self.config.num_classes:
            return self.head(self.norm(maps[-1]).mean((1, 2)))  # type: ignore[no-any-return]
        return tuple(stage_map.permute(0, 3, 1, 2) for stage_map in maps)


def share_weights(model: CrossFormer) -> CrossFormer:
    """A second instance with the same parameters, whose structure can be changed freely."""
    shared = {id(parameter): parameter for parameter in model.parameters()}
    return copy.deepcopy(model, shared)
