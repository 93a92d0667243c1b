"""CrossFormer weights from the official code: what their keys and shapes show.

https://github.com/cheerss/CrossFormer, classification (``main.py`` saves ``model``, ``config``, ...)
and the backbones of its mmdetection and mmsegmentation models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.crossformer.config import TrainingConfig
from deploykit_exporters.families.crossformer.network import CrossFormerConfig

if TYPE_CHECKING:
    import torch

__all__ = ["AttentionPlan", "architecture", "attention_plan", "has_head", "matches", "weights"]

Tensors = Mapping[str, "torch.Tensor"]

_OWN_KEYS = ("patch_embed.projs.0.weight", "layers.0.blocks.0.attn.pos.pos_proj.weight")
# Tables that the first version of the code saved; they follow from the group size.
_DERIVED = re.compile(r"\.attn\.(biases|relative_position_index)$")
_AFTER_STAGES = re.compile(r"(norm|head)\.")
_DEFAULT_IMAGE = 224
_INTERVALS = (8, 4, 2, 1)


@dataclass(frozen=True, kw_only=True)
class AttentionPlan:
    """Group sizes and intervals per stage, and their source.

    Attributes:
        groups, intervals: See ``CrossFormerConfig``.
        origin: Where they come from, to complete "groups ... ".
        assumed: They are defaults of the repository.
    """

    groups: tuple[int, ...]
    intervals: tuple[int, ...]
    origin: str
    assumed: bool


def matches(tensors: Tensors) -> bool:
    """Whether the keys are those of a CrossFormer."""
    return all(key in tensors for key in _OWN_KEYS)


def has_head(tensors: Tensors) -> bool:
    """Whether these are the weights of a classifier; detection and segmentation have a bare backbone."""
    return "head.weight" in tensors or "head.bias" in tensors


def weights(tensors: Tensors, *, features: bool) -> dict[str, torch.Tensor]:
    """The weights of the network: without tables that it computes and, for ``features``, without the norm
    and head after the last stage.
    """
    return {
        key: tensor
        for key, tensor in tensors.items()
        if not _DERIVED.search(key) and not (features and _AFTER_STAGES.match(key))
    }


def attention_plan(tensors: Tensors, config: TrainingConfig | None) -> AttentionPlan:
    """Group sizes and intervals, which no key or shape shows.

    Without a configuration they are the repository's: 7 members, intervals 8, 4, 2, 1, except for the
    classifiers of CrossFormer++ (its detectors and segmenters use 7 members again).
    """
    plus = has_head(tensors) and any(".ex_conv." in key for key in tensors)
    if config is None or config.groups is None:
        return AttentionPlan(
            groups=(4, 4, 14, 7) if plus else (7, 7, 7, 7),
            intervals=(4, 2, 1, 1) if plus else _INTERVALS,
            origin=f"the repository's default for {'a CrossFormer++ classifier' if plus else 'CrossFormer'}",
            assumed=True,
        )
    return AttentionPlan(
        groups=config.groups, intervals=_intervals(config), origin=f"from {config.source}", assumed=False
    )


def _intervals(config: TrainingConfig) -> tuple[int, ...]:
    groups = config.groups or ()
    if config.adaptive:
        return (0,) * len(groups)
    if config.intervals is None and config.own:
        # The first version of the code knew no INTERVAL: its groups span the whole map.
        side = (config.image_size or _DEFAULT_IMAGE) // 4
        return tuple(max(1, (side >> stage) // group) for stage, group in enumerate(groups))
    return config.intervals or _INTERVALS


def architecture(tensors: Tensors, plan: AttentionPlan, *, features: bool) -> CrossFormerConfig:
    """Read the architecture from keys and shapes.

    Args:
        tensors: Weights under the official keys.
        plan: The settings that the weights cannot show.
        features: Feature maps instead of the head.

    Raises:
        CheckpointError: keys or shapes do not belong to a CrossFormer, or the plan has other stages.
    """
    depths = _depths(tensors)
    stages = range(len(depths))
    for name, values in (("GROUP_SIZE", plan.groups), ("INTERVAL", plan.intervals)):
        if len(values) != len(depths):
            raise CheckpointError(
                f"{name} wants one number for each of the {len(depths)} stages, found {_dashed(values)} "
                f"({plan.origin}).",
                hint="Give the configuration of the training with --config.",
            )
    widths = tuple(_rows(tensors, f"layers.{stage}.blocks.0.attn.proj.weight", 2) for stage in stages)
    heads = tuple(_rows(tensors, f"layers.{stage}.blocks.0.attn.pos.pos3.2.weight", 2) for stage in stages)
    if any(width != widths[0] << stage for stage, width in enumerate(widths)):
        raise CheckpointError(f"The stages of a CrossFormer double their width, found {_dashed(widths)}.")
    if any(width % head for width, head in zip(widths, heads, strict=True)):
        raise CheckpointError(f"Widths {_dashed(widths)} cannot be divided among {_dashed(heads)} heads.")
    return CrossFormerConfig(
        widths=widths,
        depths=depths,
        heads=heads,
        groups=plan.groups,
        intervals=plan.intervals,
        cooling=tuple(
            tuple(
                block for block in range(depth) if f"layers.{stage}.blocks.{block}.ex_conv.weight" in tensors
            )
            for stage, depth in enumerate(depths)
        ),
        mlp_widths=tuple(_rows(tensors, f"layers.{stage}.blocks.0.mlp.fc1.weight", 2) for stage in stages),
        position_widths=tuple(
            _rows(tensors, f"layers.{stage}.blocks.0.attn.pos.pos_proj.weight", 2) for stage in stages
        ),
        embed_kernels=_kernels(tensors, "patch_embed.projs", stride=None),
        merge_kernels=tuple(
            _kernels(tensors, f"layers.{stage}.downsample.reductions", stride=2) for stage in stages[:-1]
        ),
        num_classes=0 if features else _rows(tensors, "head.weight", 2),
        embed_norm=any(key.startswith("patch_embed.norm.") for key in tensors),
        qkv_bias=any(key.endswith(".attn.qkv.bias") for key in tensors),
        channels=_shape(tensors, "patch_embed.projs.0.weight", 4)[1],
    )


def _depths(tensors: Tensors) -> tuple[int, ...]:
    """Blocks of each stage; numbering must be complete, so that no key can ask for a vast network."""
    blocks: dict[int, set[int]] = {}
    for key in tensors:
        if found := re.match(r"layers\.(\d{1,9})\.blocks\.(\d{1,9})\.", key):
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    if blocks.keys() != set(range(len(blocks))):
        raise CheckpointError(f"Stages are missing among layers.{_listed(blocks)}.")
    for stage, indices in blocks.items():
        if indices != set(range(len(indices))):
            raise CheckpointError(f"Blocks are missing among layers.{stage}.blocks.{_listed(indices)}.")
    return tuple(len(blocks[stage]) for stage in range(len(blocks)))


def _kernels(tensors: Tensors, prefix: str, *, stride: int | None) -> tuple[int, ...]:
    """Kernel sizes of the convolutions ``prefix``.0, .1, ..., none smaller than their stride, which
    defaults to the first kernel.
    """
    kernels: list[int] = []
    while (key := f"{prefix}.{len(kernels)}.weight") in tensors:
        kernels.append(_shape(tensors, key, 4)[-1])
    if not kernels or min(kernels) < max(stride or kernels[0], 1):
        raise CheckpointError(
            f"The convolutions {prefix} want a kernel each that covers the stride, "
            f"found {_dashed(kernels) or 'none'}."
        )
    return tuple(kernels)


def _rows(tensors: Tensors, key: str, rank: int) -> int:
    rows = _shape(tensors, key, rank)[0]
    if rows < 1:
        raise CheckpointError(f"{key} is empty.")
    return rows


def _shape(tensors: Tensors, key: str, rank: int) -> tuple[int, ...]:
    if key not in tensors:
        raise CheckpointError(
            f"The weights lack {key}, which every CrossFormer has.",
            hint="Part of the weights is missing: export from the file that the training wrote.",
        )
    shape = tuple(tensors[key].shape)
    if len(shape) != rank:
        raise CheckpointError(f"{key} wants {rank} axes, found the shape {_dashed(shape) or 'of a scalar'}.")
    return shape


def _dashed(values: Iterable[int]) -> str:
    return "-".join(map(str, values))


def _listed(values: Iterable[int]) -> str:
    return "{" + ", ".join(map(str, sorted(values)[:20])) + "}"
