"""How transformers' BEiT resizes what depends on the image size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from deploykit_runtimes.errors import CheckpointError
from torch import nn
from torch.nn import functional as F

from deploykit_exporters.families.vit.positions import Resampling, resample_grid

__all__ = ["resize_beit"]

_EXTRA = 3  # Rows of a table for pairs with the class token.
_TABLE = "relative_position_bias_table"


def resize_beit(
    kept: Mapping[str, torch.Tensor], trained: tuple[int, int], net: Any, size: tuple[int, int]
) -> None:
    """Give timm's ``Beit`` the tables and positions of transformers, for images of (height, width).

    Args:
        kept: The tables and positions in the file, under timm's names.
        trained: (height, width) that they are for.
        net: The network, for images of ``size``.
        size: The new (height, width).

    Raises:
        CheckpointError: transformers itself cannot resize them.
    """
    high, wide = net.patch_embed.patch_size
    old, new = ((one[0] // high, one[1] // wide) for one in (trained, size))
    if net.pos_embed is not None:
        net.pos_embed = nn.Parameter(_positions(kept["pos_embed"].float(), old, new))
    for name, module in net.named_modules():
        if getattr(module, _TABLE, None) is not None:
            setattr(module, _TABLE, nn.Parameter(_table(kept[f"{name}.{_TABLE}"].float(), old, new)))


def _positions(positions: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """Positions [1, 1 + rows * columns, D] for another grid; transformers treats any grid as a square.

    Raises:
        CheckpointError: they cannot belong to a square.
    """
    side = math.isqrt(positions.shape[1] - 1)
    if side * side != positions.shape[1] - 1:
        raise CheckpointError(
            f"The positions are those of {old[0]}x{old[1]} patches; transformers' BEiT runs with positions "
            "of square images only."
        )
    grid = positions[0, 1:].reshape(side, side, -1)
    return torch.cat([positions[:, :1], resample_grid(grid, new, Resampling(antialias=False))], dim=1)


def _table(table: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """A table of relative positions [distances, heads] for another grid.

    transformers lays out the trained one as (columns, rows), which matters if these differ.
    """
    rows, columns = (2 * side - 1 for side in old)
    planes = table[:-_EXTRA].reshape(1, columns, rows, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(planes, size=tuple(2 * side - 1 for side in new), mode="bilinear")
    return torch.cat([resized.flatten(2)[0].T, table[-_EXTRA:]])
