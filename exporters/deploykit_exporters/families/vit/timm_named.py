"""timm's own model of the name in a ViT checkpoint, and how far the weights fit it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.families.shared.timm_library.config import TimmFile, attributes
from deploykit_exporters.families.shared.timm_library.template import (
    build_template,
    differences,
    modules_of,
    other_weights,
    parameters_of,
    pickled_model,
    refuse_differences,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = [
    "SAY",
    "NamedModel",
    "asked_arguments",
    "channels_of",
    "claimed_name",
    "confirm",
    "find_named",
]

SAY = "Name the architecture with --variant, or give what it does not say with --config."
_PRETRAINED = ("pretrained_cfg", "pretrained_cfg_overlay")


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """timm's own model of the name in the file.

    Attributes:
        name: timm's name, and what gives it.
        model: The model without weights.
        arguments: The arguments given to its constructor.
        other: How the weights differ from it.
        assumed: Assumptions, in sentences.
        heads: Attention heads; None if unknown.
    """

    name: str
    told_by: str
    model: Any
    arguments: Mapping[str, Any] = field(default_factory=dict)
    other: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    heads: int | None = None


def find_named(
    checkpoint: Checkpoint, file: TimmFile, tensors: Mapping[str, torch.Tensor], hints: Hints
) -> NamedModel | None:
    """timm's model of the name that the file or the user gives; None if neither does.

    Raises:
        CheckpointError: it is not a plain ViT, does not fit the weights, or cannot be built.
    """
    pickled = pickled_model(checkpoint.module)
    if pickled is not None:
        return _pickled(pickled)
    name, told_by = claimed_name(checkpoint, file, hints)
    told = file.arguments(_constructor())
    where = file.where
    if not name:
        file.refuse_unnamed(told, "vit_small_patch16_224")
        return None
    rms = "blocks.0.norm1.weight" in tensors and "blocks.0.norm1.bias" not in tensors
    arguments = {**told, **asked_arguments(hints.config or {}, rms=rms)}
    plain = _plain_model(name, told_by, arguments, where)
    given = {**arguments, **_sizes(plain, tensors, arguments, where)}
    model = _plain_model(name, told_by, given, where)
    other = tuple(other_weights(model, tensors, except_for=_except_for(given)))
    sizes = [key for key in ("embed_dim", "depth") if key in given and key not in arguments]
    if told_by == "--variant" and (sizes or other):
        raise CheckpointError(
            f"--variant {name} has {plain.embed_dim} channels and {len(plain.blocks)} blocks; "
            f"the weights have {_width(tensors)} channels and {_depth(tensors)} blocks"
            + (f" ({other[0]})." if other and not sizes else "."),
            hint="Leave --variant out: the sizes are read from the weights.",
        )
    named = {"name": name, "told_by": told_by, "where": where}
    file.refuse_other(name, other, lambda key: _without(key, arguments, tensors, **named))
    return NamedModel(
        name=name,
        told_by=told_by,
        model=model,
        arguments=given,
        other=other,
        heads=None if _guesses_heads(plain, given, arguments) else int(model.blocks[0].attn.num_heads),
        assumed=_assumed(f"{name}, named by {told_by}", plain, given, arguments, other),
    )


def _without(
    key: str,
    arguments: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    *,
    name: str,
    told_by: str,
    where: str,
) -> list[str]:
    """How the weights differ from timm's model without one of the arguments."""
    left = {one: value for one, value in arguments.items() if one != key}
    plain = _plain_model(name, told_by, left, where)
    given = {**left, **_sizes(plain, tensors, left, where)}
    model = _plain_model(name, told_by, given, where)
    return other_weights(model, tensors, except_for=_except_for(given))


def _pickled(model: Any) -> NamedModel:
    """The pickled module itself, which has all the information.

    Raises:
        CheckpointError: it is not a plain ViT.
    """
    kind = type(model).__name__
    if kind not in {"VisionTransformer", "VisionTransformerDistilled"}:
        raise CheckpointError(
            f"The pickled module is timm's {kind} and not a plain ViT; its weights look like those of one, "
            f"and "
            "would give other answers."
        )
    told = attributes(getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None))
    return NamedModel(
        name=str(told.get("architecture") or ""),
        told_by="the pickled module",
        model=model,
        heads=int(modules_of(model)["blocks.0.attn"].num_heads),
    )


def claimed_name(checkpoint: Checkpoint, file: TimmFile, hints: Hints) -> tuple[str, str]:
    """timm's name of the model, and what gives it; empty if nothing does.

    Raises:
        CheckpointError: the file gives two names.
    """
    timm = require("timm", extra="export", purpose="build a ViT")
    stem = re.split(r"[-.]", checkpoint.path.name)[0]
    claims = (
        ("--variant", hints.variant),
        ("arch", file.arch),
        ("config.json", file.hub.get("architecture")),
        ("pretrained_cfg", file.pretrained.get("architecture")),
        ("args", file.args.get("model")),
        ("the file name", stem),
    )
    known = []
    for source, claim in claims:
        name = str(claim).partition(".")[0] if claim else ""
        if name and timm.is_model(name):
            known.append((name, source))
    if not known:
        return "", ""
    name, source = known[0]
    for other, place in known[1:]:
        if source not in {"--variant", "the file name"} and place != "the file name" and other != name:
            raise CheckpointError(
                f"The file has two names for its architecture: {name} ({source}) and {other} ({place}).",
                hint=f"Say which it is: --variant {name}",
            )
    return name, source if source in {"--variant", "the file name"} else "the checkpoint"


def _constructor() -> tuple[str, ...]:
    """The arguments of timm's ViT."""
    kind = require("timm.models.vision_transformer", extra="export").VisionTransformer
    return parameters_of(kind, *_PRETRAINED)


def asked_arguments(config: Mapping[str, Any], *, rms: bool = False) -> dict[str, Any]:
    """--config in the terms of timm's constructor; ``rms``: its norms are RMSNorms."""
    layers = require("timm.layers", extra="export")
    norm = layers.RmsNorm if rms else layers.LayerNorm

    eps = config.get("eps")
    told = {
        "num_heads": config.get("num_heads"),
        "global_pool": config.get("global_pool"),
        "act_layer": config.get("activation"),
        "norm_layer": None if eps is None else partial(norm, eps=float(eps)),
    }
    return {key: value for key, value in told.items() if value is not None}


def _plain_model(name: str, told_by: str, arguments: Mapping[str, Any], where: str) -> Any:
    """timm's model, which must be a plain ViT.

    Raises:
        CheckpointError: it is not.
    """
    model = build_template(name, arguments, where=where)
    kinds = (
        require("timm.models.vision_transformer", extra="export").VisionTransformer,
        require("timm.models.deit", extra="export").VisionTransformerDistilled,
    )
    if type(model) not in kinds:
        raise CheckpointError(
            f"{name}, named by {told_by}, is timm's {type(model).__name__} and not a plain ViT; its weights "
            "look like those of one, and would give other answers.",
            hint="If the name is wrong, give the right one: --variant vit_small_patch16_224",
        )
    return model


def _sizes(
    plain: Any, tensors: Mapping[str, torch.Tensor], told: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Arguments that give timm's model the sizes of the weights, if nothing else does.

    Raises:
        CheckpointError: the given size does not fit the weights.
    """
    found = {"embed_dim": _width(tensors), "depth": _depth(tensors)}
    has = {"embed_dim": plain.embed_dim, "depth": len(plain.blocks)}
    for key, value in found.items():
        if key in told and told[key] != value:
            raise CheckpointError(
                f"{where} says {key} = {told[key]}; the weights have {value}.",
                hint=f"If that is of another model, leave it out: --ignore {where}:{key}",
            )
    sizes: dict[str, Any] = {key: value for key, value in found.items() if has[key] != value}
    if "embed_dim" in sizes and "num_heads" not in told:
        heads = int(plain.blocks[0].attn.num_heads)
        sizes["num_heads"] = 1 if found["embed_dim"] % heads else heads
    if channels_of(tensors) != plain.patch_embed.proj.in_channels:
        sizes["in_chans"] = channels_of(tensors)
    if not told.keys() & {"global_pool", "fc_norm"}:
        if "fc_norm.weight" in tensors and plain.global_pool == "token":
            sizes["global_pool"] = "avg"
    elif "fc_norm" not in told:
        sizes["fc_norm"] = "fc_norm.weight" in tensors
    sizes["num_classes"] = int(tensors["head.weight"].shape[0]) if "head.weight" in tensors else 0
    return sizes


def _guesses_heads(plain: Any, given: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    return "num_heads" not in told and given.get("num_heads", 0) not in {
        0,
        int(plain.blocks[0].attn.num_heads),
    }


def _except_for(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Weights whose shapes do not depend on the architecture: positions depend on the image size."""
    return ("head.", "head_dist.") if "img_size" in given else ("head.", "head_dist.", "pos_embed")


def _assumed(
    which: str,
    plain: Any,
    given: Mapping[str, Any],
    told: Mapping[str, Any],
    other: tuple[str, ...],
) -> tuple[str, ...]:
    changed = [
        f"{given[key]} {words} instead of {own}"
        for key, words, own in (
            ("embed_dim", "channels", plain.embed_dim),
            ("depth", "blocks", len(plain.blocks)),
        )
        if key in given and key not in told
    ]
    if "global_pool" in given and "global_pool" not in told:
        changed.append("a norm behind the pooling, taken for that of an average")
    changed += [*other[:1], *([f"{len(other) - 1} more"] if len(other) > 1 else [])]
    if not changed:
        return ()
    heads = "" if _guesses_heads(plain, given, told) or "embed_dim" not in given else "attention heads, "
    return (
        f"The weights are not those of timm's {which} ({', '.join(changed)}); what they do not show "
        f"({heads}activation, eps, pooling) is taken from it. {SAY}",
    )


def confirm(named: NamedModel, net: nn.Module) -> None:
    """Compare the built network with timm's own model.

    Raises:
        CheckpointError: they differ in something that can change an answer.
    """
    found = differences(named.model, net, shapes=not named.other)
    if not getattr(named.model, "num_prefix_tokens", 1):
        found = [one for one in found if not one.startswith("no_embed_class ")]
    refuse_differences(
        found,
        f"{named.name or 'ViT'}, named by {named.told_by}",
        "deploykit reads plain ViTs; what the file says beyond that is not supported, nor can --config say "
        "otherwise.",
    )


def _width(tensors: Mapping[str, torch.Tensor]) -> int:
    return int(tensors["patch_embed.proj.weight"].shape[0])


def channels_of(tensors: Mapping[str, torch.Tensor]) -> int:
    weight = tensors["patch_embed.proj.weight"]
    return int(weight.shape[1]) if weight.ndim > 1 else 0


def _depth(tensors: Mapping[str, torch.Tensor]) -> int:
    return len({key.split(".")[1] for key in tensors if key.startswith("blocks.")})
