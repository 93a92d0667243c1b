"""CrossFormer's dynamic position bias: an MLP from a relative offset to one number per head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["ConstantPositionBias", "DynamicPositionBias", "Offsets", "offsets_of"]


@dataclass(frozen=True, kw_only=True)
class Offsets:
    """The relative positions within a group of N = height * width members, row by row.

    Attributes:
        table: Every occurring offset (dy, dx), int64 [(2 * height - 1) * (2 * width - 1), 2].
        index: Row of ``table`` for each pair (query, key), int64 [N, N].
    """

    table: Tensor
    index: Tensor


def offsets_of(height: int, width: int, device: torch.device) -> Offsets:
    """The offsets of a group; sizes may be traced values, since only integer arithmetic is used."""
    span = 2 * width - 1
    entry = torch.arange((2 * height - 1) * span, device=device)
    row = entry // span
    table = torch.stack((row - (height - 1), entry - row * span - (width - 1)), dim=-1)
    member = torch.arange(height * width, device=device)
    # A member's row and column as one number, in steps of the table's rows.
    place = member + member // width * (width - 1)
    centre = (height - 1) * span + (width - 1)
    return Offsets(table=table, index=place[:, None] - place[None, :] + centre)


class DynamicPositionBias(nn.Module):
    """Attention bias of a group of any height and width.

    A relative position bias table, computed by an MLP from the offset (dy, dx) instead of being
    learnt entry by entry (CrossFormer, ICLR 2022, section 3.3).

    Args:
        hidden: Width of the MLP; ``dim // 16`` in the official models.
        heads: Number of attention heads.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, hidden)
        self.pos1 = _layer(hidden, hidden)
        self.pos2 = _layer(hidden, hidden)
        self.pos3 = _layer(hidden, heads)

    def forward(self, offsets: Offsets) -> Tensor:
        """Bias [1, heads, N, N] to be added to the logits of N queries and N keys."""
        table: Tensor = offsets.table.to(self.pos_proj.weight.dtype)
        table = self.pos3(self.pos2(self.pos1(self.pos_proj(table))))
        # Heads first: the many rows of the result are then gathered as they lie in memory.
        return table.t()[:, offsets.index].unsqueeze(0)


class ConstantPositionBias(nn.Module):
    """The bias of groups of a known size; replaces ``DynamicPositionBias``."""

    bias: Tensor

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, offsets: Offsets | None) -> Tensor:  # noqa: ARG002 - they are in the constant
        return self.bias


def _layer(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width_in), nn.ReLU(), nn.Linear(width_in, width_out))
