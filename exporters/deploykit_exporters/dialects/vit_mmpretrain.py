"""ViT weights of mmpretrain (and mmcls): VisionTransformer, DistilledVisionTransformer and DeiT3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.dialects.mm_config import mm_config, mm_preprocess
from deploykit_exporters.dialects.vit import Size, VitSource, as_size, rename, size_name
from deploykit_exporters.nets.vit import Pool, ViTArchitecture
from deploykit_exporters.nets.vit_positions import Resampling

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["matches", "read"]

_RULES = {
    "patch_embed.projection": "patch_embed.proj",
    "pre_norm": "norm_pre",
    "ln1": "norm",
    "norm1": "norm",
    "ln2": "fc_norm",
    "head.layers.head": "head",
    "head.layers.head_dist": "head_dist",
    "head.layers.pre_logits": "head.pre_logits",
    "head.fc": "head",
}
_BLOCKS = {
    "ln1": "norm1",
    "ln2": "norm2",
    "attn.gamma1.weight": "ls1.gamma",
    "ffn.gamma2.weight": "ls2.gamma",
    "ffn.layers.0.0": "mlp.fc1",
    "ffn.layers.1": "mlp.fc2",
    "ffn.w12": "mlp.fc1",
    "ffn.w3": "mlp.fc2",
}
_POOLS: dict[str, Pool] = {"cls_token": "token", "avg_featmap": "avg"}
_ACTIVATIONS = {"GELU": "gelu", "QuickGELU": "quick_gelu", "ReLU": "relu", "SiLU": "silu", "Swish": "silu"}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    for wrapper in ("backbone.", ""):
        if f"{wrapper}patch_embed.projection.weight" in tensors:
            return f"{wrapper}layers.0.attn.qkv.weight" in tensors and any(
                f"{wrapper}layers.0.ffn.{name}.weight" in tensors for name in ("layers.0.0", "w12")
            )
    return False


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the weights and read the configuration that mmengine stored beside them."""
    settings = mm_config(checkpoint.meta, hints.config)
    model = _mapping(settings.get("model"))
    backbone = _mapping(model.get("backbone"))
    layers = _mapping(backbone.get("layer_cfgs"))
    plain = {key.removeprefix("backbone."): tensor for key, tensor in tensors.items()}
    renamed = rename(plain, _RULES, block="layers.", blocks=_BLOCKS)
    notes = _share_norm(renamed, backbone)
    if "head.pre_logits.weight" in renamed:
        for kind in ("weight", "bias"):
            renamed[f"head.head.{kind}"] = renamed.pop(f"head.{kind}")
    if backbone.get("interpolate_mode", "bicubic") != "bicubic":
        raise CheckpointError(
            f"The training resizes position embeddings by {backbone['interpolate_mode']}; "
            "only bicubic is supported."
        )
    norm = _mapping(layers.get("norm_cfg", backbone.get("norm_cfg")))
    activation = str(_mapping(layers.get("act_cfg")).get("type", "GELU"))
    heads = _mapping(backbone.get("arch")).get("num_heads")
    return VitSource(
        tensors=renamed,
        original=tensors,
        resampling=Resampling(antialias=False),
        preprocess=partial(mm_preprocess, settings),
        preprocess_from="the training's test_pipeline and data_preprocessor" if settings else "",
        name=partial(_name, backbone.get("arch")),
        num_heads=None if heads is None else int(heads),
        image_size=as_size(backbone.get("img_size")),
        pool=_POOLS.get(str(backbone.get("out_type"))),
        eps=float(norm.get("eps", 1e-6)),
        activation=_ACTIVATIONS.get(activation, activation),
        classes=_classes(checkpoint.meta),
        notes=notes,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _share_norm(tensors: dict[str, torch.Tensor], backbone: Mapping[str, Any]) -> tuple[str, ...]:
    """DeiT3 of mmpretrain 1.x normalises the MLP's input with ``ln1`` and never uses ``ln2``."""
    positions = tensors.get("pos_embed")
    # The only backbone whose class token has no position: a square number of positions.
    looks = (
        positions is not None
        and "cls_token" in tensors
        and math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]
    )
    if str(backbone.get("type", "DeiT3" if looks else "")) != "DeiT3":
        return ()
    for key in [key for key in tensors if ".norm2." in key]:
        tensors[key] = tensors[key.replace(".norm2.", ".norm1.")]
    return ("mmpretrain's DeiT3 uses ln1 before the MLP too and never ln2; so does this model.",)


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Names from mmengine's ``dataset_meta``, or from ``CLASSES`` of mmcls 0.x."""
    inner = _mapping(meta.get("meta"))
    names = _mapping(inner.get("dataset_meta")).get("classes", inner.get("CLASSES"))
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _name(named: Any, arch: ViTArchitecture, size: Size) -> str:
    letters = {"s": "small", "b": "base", "l": "large", "h": "huge"}
    name = letters.get(named, named) if isinstance(named, str) else size_name(arch)
    if not name:
        return ""
    return f"{'' if '-' in name else 'vit-'}{name}-p{arch.patch[0]}-{size[0]}"
