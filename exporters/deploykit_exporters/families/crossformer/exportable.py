"""The forms of CrossFormer that export well; both compute the same as ``CrossFormer``.

At a fixed size, everything that only depends on sizes becomes a constant. With a dynamic height and
width nothing may branch on a size, because tracing would keep one of the branches: whether a map is
one group, how far it is padded, the mask and the position bias are all computed in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deploykit_exporters.families.crossformer.attention import GroupAttention
from deploykit_exporters.families.crossformer.grouping import MASKED, Groups, PaddedGroups, divide
from deploykit_exporters.families.crossformer.network import CrossFormer, CrossFormerStage, share_weights
from deploykit_exporters.families.crossformer.position_bias import ConstantPositionBias, Offsets, offsets_of

__all__ = ["IndexedGroups", "dynamic_form", "fixed_form", "index_map"]


@dataclass(frozen=True, kw_only=True)
class IndexedGroups:
    """Groups of a map of any size, made by two gathers whose indices are computed from the size.

    Attributes:
        map_height, map_width: Size of the map in tokens, possibly traced values.
        height, width: Members of a group along each axis.
        offsets: Relative positions within a group.
        source: Token (row by row) of each member of each group; padding repeats some token.
        target: Member (group by group) of each token.
        mask: 0 or ``MASKED`` for each member, [groups, 1, 1, height * width].
    """

    map_height: int
    map_width: int
    height: int
    width: int
    offsets: Offsets
    source: Tensor
    target: Tensor
    mask: Tensor

    def split(self, tokens: Tensor) -> Tensor:
        members = tokens.flatten(1, 2).index_select(1, self.source)
        return members.reshape(-1, self.height * self.width, tokens.shape[-1])

    def join(self, members: Tensor) -> Tensor:
        channels = members.shape[-1]
        tokens = members.reshape(-1, self.source.shape[0], channels).index_select(1, self.target)
        return tokens.reshape(-1, self.map_height, self.map_width, channels)


def index_map(tokens: Tensor, group: int, interval: int) -> tuple[Groups, Groups]:
    """The grouping of a map whose size may be a traced value.

    The rule of ``divide``, in integer arithmetic instead of branches.
    """
    map_height, map_width = tokens.shape[1], tokens.shape[2]
    # 1 where a side is not larger than the group, else 0.
    whole = 1 // (1 + (map_height // (group + 1)) * (map_width // (group + 1)))
    height = group + whole * (map_height - group)
    width = group + whole * (map_width - group)
    offsets = offsets_of(height, width, tokens.device)
    near = _indexed(tokens, height, width, 1, offsets)
    if interval == 1:
        return near, near
    if interval == 0:
        longer = (map_height + map_width + abs(map_height - map_width)) // 2
        interval = _ceil_div(longer, group)
    return near, _indexed(tokens, height, width, interval - whole * (interval - 1), offsets)


def _indexed(tokens: Tensor, height: int, width: int, interval: int, offsets: Offsets) -> IndexedGroups:
    """Groups of ``height * width`` members, ``interval`` tokens apart."""
    map_height, map_width = tokens.shape[1], tokens.shape[2]
    rows = _ceil_div(map_height, height * interval)
    columns = _ceil_div(map_width, width * interval)
    padded_height, padded_width = rows * height * interval, columns * width * interval

    # The coordinates of each member: [row, column of the block, phase y, phase x, member y, member x].
    y = torch.arange(padded_height, device=tokens.device).reshape(rows, 1, height, interval, 1, 1)
    x = torch.arange(padded_width, device=tokens.device).reshape(1, columns, 1, 1, width, interval)
    y, x = y.permute(0, 1, 3, 4, 2, 5), x.permute(0, 1, 2, 5, 3, 4)
    inside_y, inside_x = y < map_height, x < map_width
    # Padding takes row 0 or column 0: any token will do, because it is masked.
    source = y * inside_y * map_width + x * inside_x
    padding = torch.logical_not(inside_y & inside_x).to(tokens.dtype)

    slots = torch.arange(padded_height * padded_width, device=tokens.device)
    slots = slots.reshape(rows, columns, interval, interval, height, width).permute(0, 4, 2, 1, 5, 3)
    slots = slots.reshape(padded_height, padded_width)[:map_height, :map_width]
    return IndexedGroups(
        map_height=map_height,
        map_width=map_width,
        height=height,
        width=width,
        offsets=offsets,
        source=source.reshape(-1),
        target=slots.reshape(-1),
        mask=padding.reshape(-1, 1, 1, height * width) * MASKED,
    )


def dynamic_form(model: CrossFormer) -> CrossFormer:
    """The form whose trace is right for every height and width; it shares the weights."""
    form = share_weights(model)
    for stage in _stages(form):
        stage.grouping = index_map
    return form


@torch.no_grad()
def fixed_form(model: CrossFormer, height: int, width: int) -> CrossFormer:
    """The form for images of height by width pixels: groups and position biases are constants; it shares
    the weights.
    """
    form = share_weights(model)
    stride = model.config.embed_kernels[0]
    device = next(model.parameters()).device
    for index, stage in enumerate(_stages(form)):
        step = stride * 2**index
        groups = divide(height // step, width // step, stage.group, stage.interval, device)
        for part in groups:
            part.prepare()
        stage.grouping = _Known(groups)
        for attention in list(stage.modules()):
            if isinstance(attention, GroupAttention):
                attention.pos = ConstantPositionBias(attention.pos(groups[0].offsets))
    return form


@dataclass(frozen=True)
class _Known:
    """A grouping that is fixed in advance."""

    groups: tuple[PaddedGroups, PaddedGroups]

    def __call__(self, *_: object) -> tuple[Groups, Groups]:
        return self.groups


def _ceil_div(number: int, divisor: int) -> int:
    # Not -(-a // b): ONNX division of integers rounds towards zero.
    return (number + divisor - 1) // divisor


def _stages(model: CrossFormer) -> list[CrossFormerStage]:
    return [stage for stage in model.layers if isinstance(stage, CrossFormerStage)]
