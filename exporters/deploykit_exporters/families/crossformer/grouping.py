"""How CrossFormer divides a map of tokens into groups for short and long distance attention.

One rule serves both kinds (official ``models/crossformer_backbone_det.py``, 2023): the members of a group
are ``interval`` tokens apart, with ``group`` of them along each axis; interval 1 is short distance
attention. A map that is not a multiple of ``group * interval`` is padded at its right and bottom, and the
padding is masked. A map with a side no larger than the group is one group, without interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from deploykit_exporters.families.crossformer.position_bias import Offsets, offsets_of

__all__ = ["MASKED", "Grouping", "Groups", "PaddedGroups", "divide", "group_map"]

MASKED = -30000.0
"""Added to the logit of a padded key: its weight becomes exactly 0, and float16 can hold the number
(the official -1e6 it cannot)."""


class Groups(Protocol):
    """A division of a [B, H, W, C] map into groups of ``height * width`` members."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def offsets(self) -> Offsets: ...

    @property
    def mask(self) -> Tensor | None:
        """0 or ``MASKED`` for each member, [groups of one image, 1, 1, height * width]; None if nothing is
        padded.
        """
        ...

    def split(self, tokens: Tensor) -> Tensor:
        """[B, H, W, C] -> [B * groups, height * width, C]."""
        ...

    def join(self, members: Tensor) -> Tensor:
        """The inverse of ``split``; padding is dropped."""
        ...


Grouping = Callable[[Tensor, int, int], tuple[Groups, Groups]]
"""``(tokens[B, H, W, C], group, interval)`` -> the groups for short and for long distance attention,
which are of equal size. Interval 0 follows the map, so that long distance groups span all of it."""


@dataclass(frozen=True, kw_only=True)
class PaddedGroups:
    """Groups of a map of known size, made by padding, reshaping and transposing.

    Attributes:
        map_height, map_width: Size of the map in tokens.
        height, width: Members of a group along each axis.
        interval: Distance between neighbouring members.
        device: Where masks and offsets are made.
    """

    map_height: int
    map_width: int
    height: int
    width: int
    interval: int = 1
    device: torch.device = field(default=torch.device("cpu"))

    @cached_property
    def rows(self) -> int:
        """Blocks of ``height * interval`` tokens along the vertical axis, padding included."""
        return -(-self.map_height // (self.height * self.interval))

    @cached_property
    def columns(self) -> int:
        """Blocks of ``width * interval`` tokens along the horizontal axis, padding included."""
        return -(-self.map_width // (self.width * self.interval))

    @cached_property
    def padded(self) -> tuple[int, int]:
        """(height, width) of the padded map."""
        return self.rows * self.height * self.interval, self.columns * self.width * self.interval

    @cached_property
    def offsets(self) -> Offsets:
        return offsets_of(self.height, self.width, self.device)

    @cached_property
    def mask(self) -> Tensor | None:
        if not any(self._padding):
            return None
        members = torch.zeros(1, self.map_height, self.map_width, 1, device=self.device)
        members = F.pad(members, self._padding, value=MASKED)
        return self._regroup(members).reshape(-1, 1, 1, self.height * self.width)

    def prepare(self) -> None:
        """Make the mask and the offsets now, so that a trace records them as constants."""
        _ = self.mask, self.offsets

    def split(self, tokens: Tensor) -> Tensor:
        if any(self._padding):
            tokens = F.pad(tokens, self._padding)
        return self._regroup(tokens).reshape(-1, self.height * self.width, tokens.shape[-1])

    def join(self, members: Tensor) -> Tensor:
        sizes, order = self._axes
        channels = members.shape[-1]
        tokens = members.reshape(-1, *(sizes[axis] for axis in order), channels)
        back = sorted(range(len(order)), key=order.__getitem__)
        tokens = tokens.permute(0, *(1 + axis for axis in back), 1 + len(back))
        tokens = tokens.reshape(-1, *self.padded, channels)
        if any(self._padding):
            tokens = tokens[:, : self.map_height, : self.map_width]
        return tokens

    @cached_property
    def _padding(self) -> tuple[int, ...]:
        """Padding for ``F.pad`` of [B, H, W, C]: on the right and at the bottom."""
        return 0, 0, 0, self.padded[1] - self.map_width, 0, self.padded[0] - self.map_height

    def _regroup(self, tokens: Tensor) -> Tensor:
        """Bring members together: [B, padded height, padded width, C] -> [B, groups..., members..., C]."""
        sizes, order = self._axes
        blocks = tokens.reshape(-1, *sizes, tokens.shape[-1])
        return blocks.permute(0, *(1 + axis for axis in order), 1 + len(order))

    @cached_property
    def _axes(self) -> tuple[list[int], list[int]]:
        """The sizes into which the padded map is cut, and the order that brings groups together.

        Axes of size 1 are left out, which lowers the rank of most transpositions in a graph.
        """
        sizes = [self.rows, self.height, self.interval, self.columns, self.width, self.interval]
        kept = [axis for axis, size in enumerate(sizes) if size > 1]
        order = [kept.index(axis) for axis in (0, 3, 2, 5, 1, 4) if axis in kept]
        return [sizes[axis] for axis in kept], order


def divide(
    height: int, width: int, group: int, interval: int, device: torch.device | None = None
) -> tuple[PaddedGroups, PaddedGroups]:
    """The groups of a map of height by width tokens: see ``Grouping``."""
    near = PaddedGroups(
        map_height=height,
        map_width=width,
        height=group,
        width=group,
        device=device or torch.device("cpu"),
    )
    if min(height, width) <= group:
        whole = replace(near, height=height, width=width)
        return whole, whole
    return near, replace(near, interval=interval or -(-max(height, width) // group))


def group_map(tokens: Tensor, group: int, interval: int) -> tuple[Groups, Groups]:
    """The grouping of the reference: sizes are plain numbers, read from the map."""
    _, height, width, _ = tokens.shape
    return divide(height, width, group, interval, tokens.device)
