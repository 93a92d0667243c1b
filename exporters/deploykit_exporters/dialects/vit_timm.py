"""ViT weights of timm, and of the original DeiT, DeiT III, MAE and AugReg code, which share its names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.dialects.imagenet import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    timm_preprocess,
)
from deploykit_exporters.dialects.timm_config import attributes, hub_config
from deploykit_exporters.dialects.vit import Size, VitSource, as_size, rename, size_name
from deploykit_exporters.dialects.vit_projection import projected
from deploykit_exporters.nets.vit import TIMM_RESAMPLING, Pool, ViTArchitecture

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["matches", "read"]

_BLOCKS = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
_ACTIVATIONS = {"QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh", "GELU": "gelu", "SiLU": "silu"}
# Used while pre-training only.
_UNUSED = {"mask_token"}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    wanted = ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")
    return all(key in tensors for key in wanted)


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Take the weights as they are, and what timm's training or hub file says about them."""
    used = {key: tensor for key, tensor in tensors.items() if key not in _UNUSED}
    used = rename(used, {}, block="blocks.", blocks=_BLOCKS)
    config = hints.config or {}
    args, hub = attributes(checkpoint.meta.get("args")), hub_config(checkpoint.meta)
    name, named_by = _architecture(checkpoint, args, hub, hints)
    template = _template(name, used, asked=named_by == "--variant")
    if template is None:
        name = ""
    block = template.blocks[0] if template is not None else None
    told = [source for source in (args, hub, attributes(getattr(template, "pretrained_cfg", None))) if source]
    source = VitSource(
        tensors=used,
        original=tensors,
        resampling=TIMM_RESAMPLING,
        preprocess=lambda size: timm_preprocess(size, config, *told, _defaults(used)),
        preprocess_from=_origin_of_preprocess(args, hub, name, named_by),
        name=_name,
        num_heads=None if block is None else int(block.attn.num_heads),
        image_size=_image_size(args, hub, attributes(getattr(template, "pretrained_cfg", None))),
        pool=_pool(args, hub, template),
        eps=_eps(used) if block is None else float(block.norm1.eps),
        activation="gelu" if block is None else _ACTIVATIONS.get(type(block.mlp.act).__name__, "gelu"),
        variant=name,
        classes=_class_names(hub),
    )
    return projected(source, hints)


def _architecture(
    checkpoint: Checkpoint, args: Mapping[str, Any], hub: Mapping[str, Any], hints: Hints
) -> tuple[str, str]:
    """timm's name of the model, and who says so; empty where nobody does."""
    stem = re.split(r"[-.]", checkpoint.path.name)[0]
    claims = (
        (hints.variant, "--variant"),
        (checkpoint.meta.get("arch"), "the checkpoint"),
        (hub.get("architecture"), "the checkpoint"),
        (args.get("model"), "the checkpoint"),
        (stem, "the file name"),
    )
    timm = require("timm", extra="export", purpose="build a ViT")
    for claim, source in claims:
        name = str(claim).partition(".")[0] if claim else ""
        if name and timm.is_model(name):
            return name, source
    return "", ""


def _template(name: str, tensors: Mapping[str, torch.Tensor], *, asked: bool) -> Any:
    """The named model without weights, or None where there is none of the weights' width and depth.

    Raises:
        CheckpointError: the user asked for the name, and the weights have another width or depth.
    """
    import torch

    if not name:
        return None
    timm = require("timm", extra="export", purpose="build a ViT")
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    kind = require("timm.models.vision_transformer", extra="export").VisionTransformer
    found = (
        tensors["patch_embed.proj.weight"].shape[0],
        len({key.split(".")[1] for key in _blocks(tensors)}),
    )
    wanted = (model.embed_dim, len(model.blocks)) if isinstance(model, kind) else None
    if wanted == found:
        return model
    if asked:
        described = (
            "is no plain ViT" if wanted is None else f"has {wanted[0]} channels and {wanted[1]} blocks"
        )
        raise CheckpointError(
            f"--variant {name} {described}; the weights have {found[0]} channels and {found[1]} blocks.",
            hint="Leave --variant out: the sizes are read from the weights.",
        )
    return None


def _blocks(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    return [key for key in tensors if key.startswith("blocks.")]


def _eps(tensors: Mapping[str, torch.Tensor]) -> float:
    """Of timm's ViTs; the CLIPs among them, known by the norm before their blocks, have another."""
    return 1e-5 if "norm_pre.weight" in tensors else 1e-6


def _image_size(*sources: Mapping[str, Any]) -> Size | None:
    for source in sources:
        for key in ("input_size", "img_size"):
            if source.get(key):
                return as_size(source[key])
    return None


def _pool(args: Mapping[str, Any], hub: Mapping[str, Any], template: Any) -> Pool | None:
    named = args.get("gp") or hub.get("global_pool") or getattr(template, "global_pool", None)
    return cast("Pool", named) if named in {"token", "avg", "map"} else None


def _origin_of_preprocess(args: Mapping[str, Any], hub: Mapping[str, Any], name: str, named_by: str) -> str:
    if hub:
        return "timm's pretrained_cfg in the checkpoint"
    if any(args.get(key) is not None for key in ("mean", "std", "crop_pct", "interpolation")):
        return "the training arguments"
    return f"timm's configuration of {name}, named by {named_by}" if name else ""


def _defaults(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What a ViT of timm is evaluated with; DeiT, known by its second token or its layer scale, with
    ImageNet's mean and std."""
    deit = "dist_token" in tensors or "blocks.0.ls1.gamma" in tensors
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if deit else (INCEPTION_MEAN, INCEPTION_STD)
    return {"mean": mean, "std": std, "interpolation": "bicubic", "crop_pct": 0.9}


def _class_names(hub: Mapping[str, Any]) -> tuple[str, ...]:
    """``label_names`` of a hub file, in words where it has ``label_descriptions``."""
    labels = hub.get("label_names")
    if isinstance(labels, Mapping):
        labels = [labels[key] for key in sorted(labels, key=int)]
    words = attributes(hub.get("label_descriptions"))
    return tuple(str(words.get(label, label)) for label in labels or ())


def _name(arch: ViTArchitecture, size: Size) -> str:
    name = size_name(arch)
    if name is None:
        return ""
    if arch.distilled:
        return f"deit_{name}_distilled_patch{arch.patch[0]}_{size[0]}"
    if arch.layer_scale and arch.class_token and not arch.prefix_positions and not arch.registers:
        return f"deit3_{name}_patch{arch.patch[0]}_{size[0]}"
    registers = f"_reg{arch.registers}" if arch.registers else ""
    clip = "_clip" if arch.pre_norm else ""
    gap = "_gap" if not arch.class_token and arch.pool == "avg" else ""
    return f"vit_{name}_patch{arch.patch[0]}{registers}{clip}{gap}_{size[0]}"
