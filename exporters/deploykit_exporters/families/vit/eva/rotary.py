"""Rotary position embeddings (Su et al., "RoFormer", 2021) of image patches, at any grid.

A pair of channels is rotated by an angle proportional to the patch's row or column.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["RotaryGrid", "depends_on_grid_alone", "fixed_rotation", "rotate"]


def depends_on_grid_alone(rope: Any) -> bool:
    """Whether the angles of one of timm's embeddings are those of ``RotaryGrid``.

    Args:
        rope: timm's ``RotaryEmbeddingCat`` (EVA-02), ``RotaryEmbeddingDinoV3``, or another, whose angles are
            learned or follow other rules.
    """
    kind = type(rope).__name__
    if kind == "RotaryEmbeddingCat":
        return not rope.in_pixels and getattr(rope, "grid_type", "index") == "index"
    return kind == "RotaryEmbeddingDinoV3" and rope.normalize_coords == "separate"


def rotate(x: torch.Tensor, sin: torch.Tensor, cos: torch.Tensor, *, half: bool) -> torch.Tensor:
    """Rotate pairs of channels.

    Args:
        x: [..., T, D].
        sin, cos: [T, D], or [heads, T, D].
        half: Channel i is paired with i + D / 2; otherwise neighbours are pairs.
    """
    if half:
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
    else:
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * cos + turned * sin


def fixed_rotation(table: torch.Tensor, prefix: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sine and cosine for all tokens; those before the patches are not rotated.

    Args:
        table: timm's ``[..., T, 2 * D]``, sine before cosine.
        prefix: Number of tokens before the patches.

    Returns:
        Two tensors [..., prefix + T, D].
    """
    sin, cos = table.detach().float().chunk(2, dim=-1)
    return F.pad(sin, (0, 0, prefix, 0)), F.pad(cos, (0, 0, prefix, 0), value=1.0)


class RotaryGrid(nn.Module):
    """Sine and cosine computed inside the graph, for the grid of the actual input.

    Args:
        rope: One of timm's embeddings for which ``depends_on_grid_alone`` holds.
        prefix: Number of tokens before the patches.
        half: See ``rotate``.
    """

    bands: torch.Tensor

    def __init__(self, rope: Any, prefix: int, *, half: bool) -> None:
        super().__init__()
        self.prefix = prefix
        self.halves = half
        self.centred = type(rope).__name__ == "RotaryEmbeddingDinoV3"
        self.offset = float(rope.grid_offset)
        self.columns_first = rope.grid_indexing == "xy"
        self.reference = None if self.centred else rope.ref_feat_shape
        bands = 2 * math.pi / rope.periods if self.centred else rope.bands
        self.register_buffer("bands", bands.detach().float().clone(), persistent=False)

    def forward(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Two tensors [prefix + rows * columns, D]."""
        down, across = (self._angles(count, axis) for axis, count in enumerate((rows, columns)))
        # Repeated along the other axis by sums with zeros: both exporters keep these symbolic.
        down = down[:, None] + torch.zeros_like(across)[None]
        across = torch.zeros_like(down) + across[None]
        pair = [across, down] if self.columns_first else [down, across]
        angles = torch.cat(pair, dim=-1).flatten(0, 1)
        angles = torch.cat([angles, angles], -1) if self.halves else torch.stack([angles] * 2, -1).flatten(-2)
        sin, cos = angles.sin(), angles.cos()
        if not self.prefix:
            return sin, cos
        return F.pad(sin, (0, 0, self.prefix, 0)), F.pad(cos, (0, 0, self.prefix, 0), value=1.0)

    def _angles(self, count: int, axis: int) -> torch.Tensor:
        """The angles of each row or column, [count, D / 4]."""
        places = torch.arange(count, dtype=torch.float32)
        total = places[-1:] + 1  # the count as a tensor
        if self.centred:
            places = 2 * ((places + 0.5 + self.offset) / total) - 1
        else:
            places = places + self.offset
            if self.reference is not None:
                places = places / total * self.reference[axis]
        return places[:, None] * self.bands
