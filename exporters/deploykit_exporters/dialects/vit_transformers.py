"""ViT and DeiT weights of Hugging Face transformers, with config.json and preprocessor_config.json.

Two key styles are in use: files on disk say ``encoder.layer.0.attention.attention.query``, a
``state_dict()`` of transformers 5 says ``layers.0.attention.q_proj``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from deploykit_runtimes.spec import Interpolation, Preprocess

from deploykit_exporters.dialects.imagenet import INCEPTION_MEAN, INCEPTION_STD
from deploykit_exporters.dialects.transformers_files import label_names, processor_settings
from deploykit_exporters.dialects.transformers_layers import activation_name, pack_qkv
from deploykit_exporters.dialects.vit import Size, VitSource, as_size, name_in_file, rename, size_name
from deploykit_exporters.nets.vit import ViTArchitecture
from deploykit_exporters.nets.vit_positions import Resampling

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["matches", "read"]

_WRAPPERS = ("vit.", "deit.")
_RULES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.distillation_token": "dist_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
    "classifier": "head",
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
}
_BLOCKS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.attention.query": "attn.q",
    "attention.attention.key": "attn.k",
    "attention.attention.value": "attn.v",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "attention.q_proj": "attn.q",
    "attention.k_proj": "attn.k",
    "attention.v_proj": "attn.v",
    "attention.o_proj": "attn.proj",
}
# Used while pre-training only.
_UNUSED = {"embeddings.mask_token"}
# The codes of Pillow.
_RESAMPLE: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}


# Defaults of ViTImageProcessor and DeiTImageProcessor.
_VIT: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_center_crop": False,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": INCEPTION_MEAN,
    "image_std": INCEPTION_STD,
}
_DEIT = {
    **_VIT,
    "size": {"height": 256, "width": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    for wrapper in ("", *_WRAPPERS):
        if f"{wrapper}embeddings.patch_embeddings.projection.weight" in tensors:
            styles = ("encoder.layer.0.attention.attention.query", "layers.0.attention.q_proj")
            return any(f"{wrapper}{style}.weight" in tensors for style in styles)
    return False


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the weights and read both JSON files."""
    described = {**_mapping(checkpoint.meta.get("config")), **(hints.config or {})}
    plain = {_unwrapped(key): tensor for key, tensor in tensors.items()}
    plain = {key: tensor for key, tensor in plain.items() if key not in _UNUSED}
    pooler = {key.removeprefix("pooler."): plain.pop(key) for key in list(plain) if key.startswith("pooler.")}
    block = "layers." if "layers.0.attention.q_proj.weight" in plain else "encoder.layer."
    apart = rename(plain, _RULES, block=block, blocks=_BLOCKS)
    renamed = pack_qkv(apart, name=lambda key: name_in_file(key, apart, tensors))
    deit = "dist_token" in renamed
    if deit and "head_dist.weight" not in renamed:
        # Without a head of its own the distillation token only takes part in attention, as a register does.
        renamed["reg_token"] = renamed.pop("dist_token")
    where, settings = processor_settings(checkpoint)
    heads = described.get("num_attention_heads")
    activation = str(described.get("hidden_act", "gelu"))
    return VitSource(
        tensors=renamed,
        original=tensors,
        resampling=Resampling(antialias=False),
        preprocess=partial(_preprocess, {**(_DEIT if deit else _VIT), **settings}),
        preprocess_from=where if settings else "",
        name=_name,
        num_heads=None if heads is None else int(heads),
        image_size=as_size(described.get("image_size")),
        pool="token",
        eps=float(described.get("layer_norm_eps", 1e-12)),
        activation=activation_name(activation),
        classes=label_names(described.get("id2label")),
        pooler=pooler,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _unwrapped(key: str) -> str:
    for wrapper in _WRAPPERS:
        key = key.removeprefix(wrapper)
    return key


def _preprocess(settings: Mapping[str, Any], size: Size) -> Preprocess:
    """The image processor's settings for a network input of ``size``; its own sizes are scaled along."""
    scale = float(settings["rescale_factor"]) if settings["do_rescale"] else 1.0
    mean, std = tuple(settings["image_mean"]), tuple(settings["image_std"])
    base = Preprocess(
        interpolation=_RESAMPLE.get(int(settings["resample"]), "bilinear"),
        crop_offset="down",
        scale=scale,
        mean=tuple(map(float, mean)) if settings["do_normalize"] else (0.0, 0.0, 0.0),
        std=tuple(map(float, std)) if settings["do_normalize"] else (1.0, 1.0, 1.0),
    )
    crop = settings["crop_size"] if settings["do_center_crop"] else None
    if not settings["do_resize"]:
        return replace(base, crop=size)
    wanted = settings["size"]
    if crop is None and not _keeps_aspect(wanted):
        return replace(base, resize="stretch", resize_to=size)
    ratio = max(size) / max(_sides(crop)) if crop is not None else max(size) / max(_sides(wanted))
    sides = tuple(round(side * ratio) for side in _sides(wanted))
    if _keeps_aspect(wanted):
        return replace(base, resize="short", resize_to=sides[:1], crop=size)
    return replace(base, resize="stretch", resize_to=sides, crop=size)


def _keeps_aspect(size: Any) -> bool:
    return isinstance(size, Mapping) and "shortest_edge" in size


def _sides(size: Any) -> Size:
    if isinstance(size, Mapping):
        if "shortest_edge" in size:
            return int(size["shortest_edge"]), int(size["shortest_edge"])
        return int(size["height"]), int(size["width"])
    return cast("Size", as_size(size))


def _name(arch: ViTArchitecture, size: Size) -> str:
    name = size_name(arch)
    kind = "deit" if arch.distilled or arch.registers else "vit"
    distilled = "-distilled" if arch.distilled else ""
    return f"{kind}-{name}{distilled}-patch{arch.patch[0]}-{size[0]}" if name else ""
