"""What the shapes of BEiT weights, under timm's names, show about timm's ``Beit``: nearly everything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.optional import require

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.vit.eva.timm_shapes import shape_arguments

if TYPE_CHECKING:
    import torch

__all__ = [
    "beit_arguments",
    "build_beit",
    "heads_of",
    "hidden_width",
    "misfit",
    "norms_of",
    "refuse_heads",
    "square_size",
]

_TABLE = "relative_position_bias_table"
_SHARED = "rel_pos_bias."
_EXTRA = 3  # Rows of a table for pairs with the class token.
_USUAL = 224


def beit_arguments(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The arguments of ``Beit`` that shapes show: all except ``img_size``, ``num_heads`` and the norms."""
    own, shared, scaled, biased = (
        any(key.endswith(end) for key in tensors)
        for end in (
            f".attn.{_TABLE}",
            f"{_SHARED}{_TABLE}",
            (".gamma_1", ".gamma_2"),
            (".attn.q_bias", ".attn.v_bias"),
        )
    )
    return {
        **shape_arguments(tensors, hidden_width(tensors)),
        "qkv_bias": biased,
        "init_values": 1.0 if scaled else None,
        "use_abs_pos_emb": "pos_embed" in tensors,
        "use_rel_pos_bias": own,
        "use_shared_rel_pos_bias": shared,
    }


def hidden_width(tensors: Mapping[str, torch.Tensor]) -> int:
    """Width of the MLPs.

    Raises:
        CheckpointError: the weight that shows it is missing.
    """
    key = "blocks.0.mlp.fc1.weight"
    if key not in tensors:
        raise CheckpointError(f"The checkpoint is not a complete BEiT; missing: {key}.")
    return int(tensors[key].shape[0])


def heads_of(tensors: Mapping[str, torch.Tensor]) -> int | None:
    """The number of attention heads, which have a column each in a table of relative positions; None
    without a table.
    """
    table = _table(tensors)
    return None if table is None else int(table.shape[-1])


def refuse_heads(config: Mapping[str, Any], heads: int) -> None:
    """Refuse a number of attention heads from the user that the weights contradict.

    Raises:
        OptionError: the numbers differ.
    """
    if config.get("num_heads") not in (None, heads):
        raise OptionError(f"--config says num_heads = {config['num_heads']!r:.60}; the weights have {heads}.")


def norms_of(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """The norms after the blocks that exist: ``norm``, ``fc_norm``."""
    return [layer for layer in ("norm", "fc_norm") if not tensors.keys().isdisjoint(_parts(layer))]


def _parts(layer: str) -> tuple[str, str]:
    return f"{layer}.weight", f"{layer}.bias"


def square_size(tensors: Mapping[str, torch.Tensor]) -> Size:
    """(height, width) of the square images for which positions and tables were made."""
    high, wide = (int(side) for side in tensors["patch_embed.proj.weight"].shape[2:])
    positions, table = tensors.get("pos_embed"), _table(tensors)
    side = _USUAL // high
    if positions is not None:
        side = math.isqrt(max(int(positions.shape[1]) - 1, 0))
    elif table is not None:
        side = (math.isqrt(max(int(table.shape[0]) - _EXTRA, 0)) + 1) // 2
    return max(side, 1) * high, max(side, 1) * wide


def misfit(tensors: Mapping[str, torch.Tensor], image: Size) -> str:
    """How positions and tables differ from those for images of (height, width); empty if they fit."""
    high, wide = (int(side) for side in tensors["patch_embed.proj.weight"].shape[2:])
    rows, columns = image[0] // high, image[1] // wide
    positions, table = tensors.get("pos_embed"), _table(tensors)
    if positions is not None and positions.shape[1] != rows * columns + 1:
        return f"which is {rows * columns} patches; the weights have {positions.shape[1]} positions"
    wanted = (2 * rows - 1) * (2 * columns - 1) + _EXTRA
    if table is not None and table.shape[0] != wanted:
        return (
            f"for which a table of relative positions has {wanted} rows; that of the weights has "
            f"{table.shape[0]}"
        )
    return ""


def build_beit(arguments: Mapping[str, Any], *, eps: float, norm: str | None) -> Any:
    """timm's network, without weights.

    Args:
        arguments: Those of ``beit_arguments``, with ``img_size`` and ``num_heads``.
        norm: ``norm``: all tokens are normalised, and the class token is pooled; ``fc_norm``: the mean of the
            patches is; None: neither, and the class token is pooled.

    Raises:
        CheckpointError: the channels are not divisible by the heads.
    """
    from torch import nn

    beit = require("timm.models.beit", extra="export", purpose="build a BEiT")
    width, heads = arguments["embed_dim"], arguments["num_heads"]
    if heads < 1 or width % heads:
        raise CheckpointError(f"{width} channels cannot be divided among {heads} attention heads.")
    net = beit.Beit(
        **arguments,
        global_pool="avg" if norm == "fc_norm" else "token",
        norm_layer=partial(nn.LayerNorm, eps=eps),
    )
    if norm is None:
        net.norm = nn.Identity()
    return net


def _table(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    return next((one for key, one in tensors.items() if key.endswith(_TABLE)), None)
