"""ViT weights from timm, and from the original DeiT, DeiT III, MAE and AugReg code, which use the same
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast, get_args

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.imagenet import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    timm_preprocess,
)
from deploykit_exporters.families.shared.timm_library.config import TimmFile, attributes, read_file
from deploykit_exporters.families.shared.timm_library.template import activation_of, modules_of
from deploykit_exporters.families.shared.timm_library.witness import UNNAMED, not_asked, timm_witness
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.clip.projection import projected
from deploykit_exporters.families.vit.network import TIMM_RESAMPLING, Pool, ViTArchitecture
from deploykit_exporters.families.vit.source import VitSource, as_size, rename, size_name
from deploykit_exporters.families.vit.timm_named import SAY, NamedModel, channels_of, confirm, find_named

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints, Witness

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "timm"

_BLOCKS = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
_ENCODER = ("norm_pre.weight", "attn_pool.latent", "cls_token")
_FORM = ("norms before the layers", "patches side by side", "no rotary positions")
_UNUSED = {"used only in pre-training": ("mask_token",)}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    wanted = ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")
    return all(key in tensors for key in wanted)


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Take the weights as they are, and read timm's training arguments or hub file."""
    kept, unused = take_unused(tensors, _UNUSED)
    used = rename(kept, {}, block="blocks.", blocks=_BLOCKS)
    file = read_file(checkpoint, hints)
    named = find_named(checkpoint, file, used, hints)
    if named is None and all(key in used for key in _ENCODER):
        raise CheckpointError(
            "These are the names of a Perception Encoder's weights, whose rotary positions the weights do "
            "not show, and the file does not say which model it is.",
            hint="Name it as timm does: --variant vit_pe_core_base_patch16_224",
        )
    config = hints.config or {}
    usual = attributes(getattr(named.model, "pretrained_cfg", None)) if named else {}
    named_by = f"timm's configuration of {named.name}, named by {named.told_by}" if named and usual else ""
    rest = () if file.published else (usual, _defaults(used))
    source = VitSource(
        tensors=used,
        original=tensors,
        resampling=TIMM_RESAMPLING,
        preprocess=lambda size: timm_preprocess(size, config, file.args, file.pretrained, *rest),
        preprocess_from=file.preprocess_from or named_by,
        name=_name,
        image_size=as_size(file.size or usual.get("input_size") or None),
        classes=file.class_names,
        settings=(*unused, *file.account(channels_of(used), named=named is not None)),
    )
    source = _as_named(source, named) if named else _unnamed(source, file, config)
    return projected(replace(source, witness=partial(_witness, named, file, used, hints)), hints)


def _as_named(source: VitSource, named: NamedModel) -> VitSource:
    layers = modules_of(named.model)
    return replace(
        source,
        num_heads=named.heads,
        pool=_known(named.model.global_pool) if hasattr(named.model, "global_pool") else None,
        eps=float(layers["blocks.0.norm1"].eps),
        norms="rms" if type(layers["blocks.0.norm1"]).__name__ == "RmsNorm" else "layer",
        activation=activation_of(layers["blocks.0.mlp.act"]),
        variant=named.name,
        assumed=named.assumed,
        confirm=partial(confirm, named),
    )


def _unnamed(source: VitSource, file: TimmFile, config: Mapping[str, Any]) -> VitSource:
    """The properties of timm's plain models, stated as an assumption."""
    used, told = source.tensors, file.pool
    if "blocks.0.norm1.weight" in used and not any(
        key.endswith(("norm1.bias", "norm2.bias")) for key in used
    ):
        raise CheckpointError(
            "The norms of this ViT have no bias: they are RMSNorms, or LayerNorms without one, which the "
            "weights do not show.",
            hint="Name it as timm does: --variant test_vit4, or say it: --config "
            '\'{"model": "vit_base_patch16_224", "model_kwargs": {"norm_layer": "rmsnorm"}}\'',
        )
    eps = 1e-5 if "norm_pre.weight" in used else 1e-6  # The CLIPs are known by the norm before their blocks.
    averaged = "fc_norm.weight" in used or "cls_token" not in used
    pool = told or ("map" if "attn_pool.latent" in used else "avg" if averaged else "token")
    words = {
        "activation": f"activation {'SiLU' if _is_gated(used) else 'GELU'}",
        "eps": f"norms with eps {eps:g}",
        "global_pool": {"token": "the class token pooled", "avg": "average pooling"}.get(pool, ""),
    }
    if told or pool == "map":
        del words["global_pool"]
    told_not = [text for key, text in words.items() if config.get(key) is None]
    # The usual form is not worth a word to whoever tells everything else.
    assumed = ", ".join([*told_not, *_FORM] if told_not else [])
    return replace(
        source,
        eps=eps,
        activation="gelu",
        pool=_known(pool),
        assumed=(f"Not in the file, and assumed: {assumed}. {SAY}",) if assumed else (),
    )


def _is_gated(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the MLP is a SwiGLU, whose first layer also computes a gate."""
    into, out = (tensors[f"blocks.0.mlp.{layer}.weight"] for layer in ("fc1", "fc2"))
    return into.shape[0] == 2 * out.shape[1]


def _known(pool: Any) -> Pool:
    """A pooling method that deploykit knows.

    Raises:
        CheckpointError: it is unknown.
    """
    if pool not in get_args(Pool):
        raise CheckpointError(
            f"The model pools its tokens with timm's global_pool = {pool!r}; deploykit reads "
            f"{', '.join(get_args(Pool))}.",
            hint="For the tokens alone, export them: --features",
        )
    return cast("Pool", pool)


def _witness(
    named: NamedModel | None,
    file: TimmFile,
    tensors: Mapping[str, torch.Tensor],
    hints: Hints,
    size: Size,
    *,
    features: bool,
) -> Witness | str:
    if named is None:
        return UNNAMED
    return not_asked(named.name, named.told_by, named.other) or timm_witness(
        named.name, named.arguments, tensors, size, file=file, hints=hints, features=features
    )


def _defaults(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The evaluation of a timm ViT; DeiT, recognised by its second token or layer scale, has ImageNet's
    mean and std.
    """
    deit = "dist_token" in tensors or "blocks.0.ls1.gamma" in tensors
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if deit else (INCEPTION_MEAN, INCEPTION_STD)
    return {"mean": mean, "std": std, "interpolation": "bicubic", "crop_pct": 0.9}


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
