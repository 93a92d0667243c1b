"""timm's EVA, EVA-02, DINOv3 and other ViTs with rotary positions (``Eva``), and its BEiTs (``Beit``).

Their weights do not show enough: timm's own model is built from the name that the file or the user gives
and the file's arguments, and must have exactly these weights. BEiT's own repository has the same keys but
gives no such name, see ``vit_beit``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.classifiers import check_config
from deploykit_exporters.families.shared.imagenet import timm_preprocess
from deploykit_exporters.families.shared.timm_library.config import TimmFile, attributes, read_file
from deploykit_exporters.families.shared.timm_library.template import (
    build_template,
    first_of,
    other_weights,
    parameters_of,
    pickled_model,
)
from deploykit_exporters.families.shared.timm_library.witness import timm_witness
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.eva.beit.from_beit import is_official, read_official
from deploykit_exporters.families.vit.eva.source import EvaSource
from deploykit_exporters.families.vit.source import as_size
from deploykit_exporters.families.vit.timm_named import asked_arguments, channels_of, claimed_name

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "is_named", "matches", "read"]

ORIGIN = "timm"
_MODULES = {"eva": "Eva", "beit": "Beit"}
_MARKS = (
    *("blocks.0.attn.q_bias", "blocks.0.attn.q_proj.weight", "blocks.0.mlp.fc1_g.weight"),
    *("blocks.0.attn.relative_position_bias_table", "rel_pos_bias.relative_position_bias_table"),
)
_UNUSED = {
    "used only in pre-training": ("mask_token", "lm_head.*", "cls_pt_*"),
    "computed from the size": ("*relative_position_index", "rope.bands", "rope.periods", "rope.pos_embed*"),
}
_CONFIG = ("num_heads", "global_pool", "eps", "mean", "std", "interpolation", "crop_pct", "crop_mode")
_POOLS = ("token", "avg", "max", "avgmax", "map")


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether there are weights that plain ViTs do not have, or do not have together with positions."""
    if "patch_embed.proj.weight" not in tensors:
        return False
    if "blocks.0.attn.qkv.bias" not in tensors and any(key in tensors for key in _MARKS):
        return True
    rotary = "blocks.0.gamma_1" in tensors and "pos_embed" not in tensors
    # One of the two may be missing: then it can be named.
    return rotary and ("blocks.0.attn.qkv.weight" in tensors or "blocks.0.attn.proj.weight" in tensors)


def is_named(checkpoint: Checkpoint, hints: Hints) -> bool:
    """Whether the file or the user names such a model: some have weights that look like a plain ViT's."""
    if checkpoint.module is not None:
        return False
    return bool(_kind(claimed_name(checkpoint, read_file(checkpoint, hints), hints)[0]))


def _kind(name: str) -> str:
    """The timm module that defines one of these models; empty for others."""
    timm = require("timm", extra="export", purpose="know an architecture by its name")
    return next((one for one in _MODULES if name and timm.models.is_model_in_modules(name, [one])), "")


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EvaSource:
    """Find timm's model that has these weights.

    Raises:
        CheckpointError: nothing names it, or its weights differ.
    """
    used, unused = take_unused(tensors, _UNUSED)
    file = read_file(checkpoint, hints)
    if pickled_model(checkpoint.module) is not None:
        raise CheckpointError(
            "The file holds a whole module of timm whose class is not read that way.",
            hint="Save its weights, torch.save(model.state_dict(), ...), and name it with --variant.",
        )
    name, told_by = claimed_name(checkpoint, file, hints)
    kind = _kind(name)
    if is_official(file, used, name, kind):
        return read_official(checkpoint, used, unused, file, hints, name=name)
    if "model" not in (hints.config or {}):  # then it has the arguments of timm's training script
        check_config(hints, _CONFIG)
    if not kind:
        raise _unnamed(name, told_by, tensors)
    arguments = {
        **file.arguments(_constructor(kind)),
        **asked_arguments(hints.config or {}),
        "in_chans": channels_of(tensors),
        "num_classes": int(tensors["head.weight"].shape[0]) if "head.weight" in tensors else 0,
    }
    template, trained, assumed = _fitting(name, arguments, used, file, hints)
    if template.global_pool not in _POOLS:
        raise CheckpointError(
            f"{name} pools its tokens with timm's global_pool = {template.global_pool!r}; deploykit reads "
            f"{', '.join(_POOLS)}.",
            hint='Say how with --config \'{"global_pool": "avg"}\'.',
        )
    usual = attributes(getattr(template, "pretrained_cfg", None))
    rest = () if file.published else (usual,)
    size = as_size(file.size or None) or as_size(usual.get("input_size") or None)
    patch = template.patch_embed.patch_size
    fits = size is not None and all(side % one == 0 for side, one in zip(size, patch, strict=True))
    return EvaSource(
        tensors=used,
        network=partial(_build, name, {**arguments, "img_size": trained}, kind),
        name=name,
        title=f"timm's {_MODULES[kind]}",
        trained=trained,
        image_size=size if size is not None and fits and kind == "eva" else trained,
        preprocess=lambda size: timm_preprocess(size, hints.config or {}, file.args, file.pretrained, *rest),
        preprocess_from=file.preprocess_from
        or (f"timm's configuration of {name}, named by {told_by}" if usual else ""),
        classes=file.class_names,
        assumed=assumed,
        settings=(*unused, *file.account(channels_of(tensors), named=True)),
        witness=partial(
            timm_witness,
            name,
            {key: value for key, value in arguments.items() if key != "img_size"},
            used,
            file=file,
            hints=hints,
            trained=trained,
        ),
    )


def _unnamed(name: str, told_by: str, tensors: Mapping[str, torch.Tensor]) -> CheckpointError:
    if name:
        return CheckpointError(
            f"{name}, named by {told_by}, is not a network with such weights: these are an EVA's, a DINOv3's "
            "or a BEiT's, whose positions are rotary or relative.",
            hint="Give the right name: --variant beitv2_base_patch16_224",
        )
    example = "eva02_base_patch14_448"
    if "blocks.0.attn.q_bias" not in tensors and "blocks.0.attn.q_proj.weight" not in tensors:
        example = "vit_small_patch16_dinov3"
    return CheckpointError(
        "These are weights of a ViT with rotary or relative positions in timm's form (EVA, DINOv3), or "
        "of one that lost its pos_embed; they do not show how the positions are computed, and the file does "
        "not say which model it is.",
        hint=f"Name it as timm does: --variant {example}",
    )


def _constructor(kind: str) -> tuple[str, ...]:
    """The arguments of timm's class."""
    module = require(f"timm.models.{kind}", extra="export")
    return parameters_of(getattr(module, _MODULES[kind]), "pretrained_cfg", "pretrained_cfg_overlay")


def _build(name: str, arguments: Mapping[str, Any], kind: str) -> Any:
    timm = require("timm", extra="export", purpose="build a ViT")
    flexible = {"dynamic_img_size": True} if kind == "eva" else {}
    return timm.create_model(name, pretrained=False, **arguments, **flexible)


def _fitting(
    name: str,
    arguments: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    file: TimmFile,
    hints: Hints,
) -> tuple[Any, Size, tuple[str, ...]]:
    """timm's model at the image size of the weights, that size, and what had to be assumed.

    Raises:
        CheckpointError: it does not have these weights at any size.
    """
    told = as_size(arguments.get("img_size"))
    first = build_template(name, arguments, where=file.where)
    square = _square(first, tensors)
    sizes = [told] if told else [as_size(file.size or None), first.patch_embed.img_size, hints.imgsz, square]
    for size in dict.fromkeys(tuple(one) for one in sizes if one):
        if any(side < patch for side, patch in zip(size, first.patch_embed.patch_size, strict=True)):
            continue
        template = build_template(name, {**arguments, "img_size": size}, where=file.where)
        if type(template).__name__ not in _MODULES.values():
            raise CheckpointError(f"{name} is timm's {type(template).__name__}, which is not read.")
        if not other_weights(template, tensors, except_for=("head.",)):
            guessed = not told and size == square and square not in sizes[:-1]
            return template, (size[0], size[1]), ((_guess(size),) if guessed else ())
    other = other_weights(first, tensors, except_for=("head.",))
    file.refuse_other(name, other, lambda key: _without(key, name, arguments, tensors, file))
    where = f" with what {file.where} says" if any(place.honours for place in file.constructor) else ""
    raise CheckpointError(
        f"The weights are not those of timm's {name}{where}: {first_of(other)}.",
        hint="Give the right name with --variant, and the size of the training's images with --imgsz.",
    )


def _without(
    key: str, name: str, arguments: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], file: TimmFile
) -> list[str]:
    """How the weights differ from timm's model without one of the arguments."""
    left = {one: value for one, value in arguments.items() if one != key}
    return other_weights(build_template(name, left, where=file.where), tensors, except_for=("head.",))


def _square(template: Any, tensors: Mapping[str, torch.Tensor]) -> Size | None:
    """(height, width) of the square images that the positions are for; None if there are no positions."""
    high, wide = template.patch_embed.patch_size
    side = 0
    if "pos_embed" in tensors and tensors["pos_embed"].ndim == 3:
        prefix = 0 if getattr(template, "no_embed_class", False) else template.num_prefix_tokens
        side = math.isqrt(max(int(tensors["pos_embed"].shape[1]) - prefix, 0))
    else:
        table = next((one for key, one in tensors.items() if "relative_position_bias_table" in key), None)
        if table is not None:
            side = (math.isqrt(max(int(table.shape[0]) - 3, 0)) + 1) // 2
    return (side * high, side * wide) if side else None


def _guess(size: tuple[int, ...]) -> str:
    return (
        f"The positions are those of {size[0]}x{size[1]} images, assuming a square: the file does not say. "
        f"--imgsz takes the size of the training's images."
    )
