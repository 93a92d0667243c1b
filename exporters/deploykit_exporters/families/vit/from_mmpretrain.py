"""ViT weights of mmpretrain (and mmcls): VisionTransformer, DistilledVisionTransformer and DeiT3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.settings import Settings
from deploykit_exporters.families.shared.mm.config import mm_config, mm_preprocess
from deploykit_exporters.families.shared.mm.model import MmModel
from deploykit_exporters.families.shared.mm.witness import mm_witness
from deploykit_exporters.families.shared.setting_values import as_mapping
from deploykit_exporters.families.vit.network import Pool, ViTArchitecture
from deploykit_exporters.families.vit.positions import Resampling
from deploykit_exporters.families.vit.source import VitSource, as_size, rename, size_name

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "mmpretrain"

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

# Width, depth, heads and width of the MLP of the architectures that have names.
_SIZES = {
    ("s", "small"): (768, 8, 8, 2304),
    ("b", "base", "deit-b", "deit-base"): (768, 12, 12, 3072),
    ("l", "large"): (1024, 24, 16, 4096),
    ("h", "huge"): (1280, 32, 16, 5120),
    ("eva-g", "eva-giant"): (1408, 40, 16, 6144),
    ("deit-t", "deit-tiny"): (192, 12, 3, 768),
    ("deit-s", "deit-small", "dinov2-s", "dinov2-small"): (384, 12, 6, 1536),
    ("dinov2-g", "dinov2-giant"): (1536, 40, 24, 6144),
}
_PARTS = ("embed_dims", "num_layers", "num_heads", "feedforward_channels")
_ARCHITECTURES = {
    name: dict(zip(_PARTS, sizes, strict=True)) for names, sizes in _SIZES.items() for name in names
}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    for wrapper in ("backbone.", ""):
        if f"{wrapper}patch_embed.projection.weight" in tensors:
            return f"{wrapper}layers.0.attn.qkv.weight" in tensors and any(
                f"{wrapper}layers.0.ffn.{name}.weight" in tensors for name in ("layers.0.0", "w12")
            )
    return False


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the weights, and read the configuration that mmengine stored in the file."""
    settings = mm_config(checkpoint.meta, hints.config)
    model = MmModel(settings, hints.ignore)
    backbone = model.backbone
    kind = model.expect_kind("VisionTransformer", "DistilledVisionTransformer", "DeiT3")
    plain = {key.removeprefix("backbone."): tensor for key, tensor in tensors.items()}
    renamed = rename(plain, _RULES, block="layers.", blocks=_BLOCKS)
    notes = _share_norm(renamed, kind)
    if "head.pre_logits.weight" in renamed:
        for part in ("weight", "bias"):
            renamed[f"head.head.{part}"] = renamed.pop(f"head.{part}")
    backbone.expect("interpolate_mode", "bicubic")
    activation = model.activation(model.layers, _ACTIVATIONS)
    model.activation(model.head, {"Tanh": "tanh"})
    heads, name = _architecture(backbone, renamed)
    _check(backbone, model.layers)
    model.expect_last(len({key.split(".")[1] for key in renamed if key.startswith("blocks.")}))
    if kind == "DistilledVisionTransformer":
        backbone.expect("pre_norm", False)  # mmpretrain makes the layer and does not use it.
    return VitSource(
        tensors=renamed,
        original=tensors,
        resampling=Resampling(antialias=False),
        preprocess=partial(mm_preprocess, settings),
        preprocess_from="the training's test_pipeline and data_preprocessor" if settings else "",
        name=partial(_name, name),
        num_heads=heads,
        image_size=as_size(backbone.get("img_size")),
        pool=_pool(backbone),
        eps=_eps(model),
        activation=activation or "gelu",
        classes=_classes(checkpoint.meta),
        notes=notes,
        scores=model.scores(),
        witness=partial(mm_witness, settings, tensors, hints),
        settings=model.account(features=hints.features),
        assumed=()
        if model.told
        else (
            "Norms with eps 1e-6, activation GELU, the class token or, without one, the mean is pooled: "
            "the file does not say (--config CONFIG.py does).",
        ),
    )


def _eps(model: MmModel) -> float:
    """The eps of the norms inside and after the layers, which must be the same.

    Raises:
        CheckpointError: they differ.
    """
    last = model.norm(model.backbone, 1e-6, "LN")
    inner = model.norm(model.layers, last, "LN")
    if inner != last:
        raise CheckpointError(
            f"The norms in the layers have eps {inner:g}, those behind them {last:g}; deploykit builds one.",
            hint="If it does not matter, leave one out: --ignore model.backbone.layer_cfgs:norm_cfg",
        )
    return last


def _architecture(backbone: Settings, renamed: Mapping[str, torch.Tensor]) -> tuple[int | None, str]:
    """The number of attention heads, and the name of the architecture, which may be empty.

    Raises:
        CheckpointError: the architecture is unknown, or does not fit the weights.
    """
    told = backbone.get("arch")
    if told is None:
        return None, ""
    if isinstance(told, str) and told.lower() not in _ARCHITECTURES:
        raise CheckpointError(f"model.backbone says arch = {told!r}, which deploykit does not know.")
    named = _ARCHITECTURES[told.lower()] if isinstance(told, str) else None
    arch = Settings("model.backbone.arch", as_mapping(told) if named is None else named)
    blocks = {key.split(".")[1] for key in renamed if key.startswith("blocks.")}
    found = {
        "embed_dims": renamed["patch_embed.proj.weight"].shape[0],
        "num_layers": len(blocks),
        "feedforward_channels": renamed["blocks.0.mlp.fc2.weight"].shape[1],
    }
    for key, value in found.items():
        arch.expect(key, value, instead="Give the configuration that belongs to these weights.")
    heads = arch.get("num_heads")
    arch.account(strict=True)
    return None if heads is None else int(heads), told if isinstance(told, str) else ""


def _check(backbone: Settings, layers: Settings) -> None:
    """Refuse settings that cannot be built, and mark those that follow from the weights."""
    backbone.honoured("type", "layer_cfgs", "arch", "norm_cfg")
    backbone.harmless(
        "read from the weights",
        *("patch_size", "in_channels", "qkv_bias", "final_norm", "with_cls_token", "pre_norm"),
        *("layer_scale_init_value", "use_layer_scale"),
    )
    patch = Settings("model.backbone.patch_cfg", as_mapping(backbone.get("patch_cfg")))
    patch.harmless("read from the weights", "bias")
    patch.account(strict=True)
    layers.expect("ffn_type", "origin", "swiglu_fused")
    layers.expect("num_fcs", 2)
    layers.honoured("norm_cfg", "act_cfg")
    layers.harmless("read from the weights", "qkv_bias", "layer_scale_init_value", "use_layer_scale")


def _pool(backbone: Settings) -> Pool | None:
    """How tokens become one vector; None if unknown.

    Raises:
        CheckpointError: they do not become one.
    """
    backbone.expect("out_type", *_POOLS)
    backbone.expect("output_cls_token", True)
    if backbone.get("avg_token"):
        return "avg"
    return _POOLS.get(str(backbone.get("out_type", "")))


def _share_norm(tensors: dict[str, torch.Tensor], kind: str) -> tuple[str, ...]:
    """Use ``ln1`` for the MLP's input, as mmpretrain 1.x does in DeiT3; it never uses ``ln2``."""
    positions = tensors.get("pos_embed")
    # The only backbone whose class token has no position: a square number of positions.
    looks = (
        positions is not None
        and "cls_token" in tensors
        and math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]
    )
    if (kind or ("DeiT3" if looks else "")) != "DeiT3":
        return ()
    for key in [key for key in tensors if ".norm2." in key]:
        tensors[key] = tensors[key.replace(".norm2.", ".norm1.")]
    return ("mmpretrain's DeiT3 uses ln1 before the MLP too and never ln2; so does this model.",)


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Names from mmengine's ``dataset_meta``, or from ``CLASSES`` of mmcls 0.x."""
    inner = as_mapping(meta.get("meta"))
    names = as_mapping(inner.get("dataset_meta")).get("classes", inner.get("CLASSES"))
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _name(named: Any, arch: ViTArchitecture, size: Size) -> str:
    letters = {"s": "small", "b": "base", "l": "large", "h": "huge"}
    name = letters.get(named, named) if isinstance(named, str) else size_name(arch)
    if not name:
        return ""
    return f"{'' if '-' in name else 'vit-'}{name}-p{arch.patch[0]}-{size[0]}"
