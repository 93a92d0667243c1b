"""ViT and DeiT weights from Hugging Face transformers, with config.json and preprocessor_config.json.

Two key styles are in use: files on disk say ``encoder.layer.0.attention.attention.query``, a
``state_dict()`` of transformers 5 says ``layers.0.attention.q_proj``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.transformers_library.files import (
    config_settings,
    described,
    label_names,
    output_activation,
    read_processor,
)
from deploykit_exporters.families.shared.transformers_library.witness import transformers_witness
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.network import ViTArchitecture
from deploykit_exporters.families.vit.positions import Resampling
from deploykit_exporters.families.vit.source import VitSource, as_size, name_in_file, rename, size_name
from deploykit_exporters.families.vit.transformers_layers import BLOCKS, activation_name, agree, pack_qkv

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.families.settings import Settings

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "transformers"

_WRAPPERS = ("vit.", "deit.")
_CLASSES = [
    [name]
    for name in (
        *("ViTModel", "ViTForImageClassification", "DeiTModel", "DeiTForImageClassification"),
        *("DeiTForImageClassificationWithTeacher", "ViTForMaskedImageModeling", "DeiTForMaskedImageModeling"),
    )
]
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
# Without preprocessor_config.json: that of the published models.
_PROCESSORS = {False: "ViT", True: "DeiT"}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    for wrapper in ("", *_WRAPPERS):
        if f"{wrapper}embeddings.patch_embeddings.projection.weight" in tensors:
            styles = ("encoder.layer.0.attention.attention.query", "layers.0.attention.q_proj")
            return any(f"{wrapper}{style}.weight" in tensors for style in styles)
    return False


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the weights and read both JSON files."""
    told = described(checkpoint, hints)
    config = config_settings("config.json", told, hints)
    plain, unused = take_unused(
        {_unwrapped(key): tensor for key, tensor in tensors.items()},
        {"used only in pre-training": ("embeddings.mask_token", "decoder.*")},
    )
    pooler = {key.removeprefix("pooler."): plain.pop(key) for key in list(plain) if key.startswith("pooler.")}
    block = "layers." if "layers.0.attention.q_proj.weight" in plain else "encoder.layer."
    apart = rename(plain, _RULES, block=block, blocks=BLOCKS)
    renamed = pack_qkv(apart, name=lambda key: name_in_file(key, apart, tensors))
    deit = "dist_token" in renamed
    if deit and "head_dist.weight" not in renamed:
        # Without a head of its own the distillation token only takes part in attention, as a register does.
        renamed["reg_token"] = renamed.pop("dist_token")
    processor = read_processor(checkpoint, hints, _PROCESSORS[deit])
    heads = config.get("num_attention_heads")
    _agree(config, renamed, pooler)
    return VitSource(
        tensors=renamed,
        original=tensors,
        resampling=Resampling(antialias=False),
        preprocess=processor.preprocess,
        preprocess_from=processor.found,
        name=_name,
        num_heads=None if heads is None else int(heads),
        image_size=as_size(config.get("image_size")),
        pool="token",
        eps=float(config.get("layer_norm_eps", 1e-12)),
        activation=activation_name(config.get("hidden_act", "gelu")),
        classes=label_names(config.get("id2label")),
        pooler=pooler,
        scores=output_activation(told),
        unstated=() if told else ("activation", "eps"),
        settings=(*unused, *config.account(strict=True), *processor.settings),
        witness=partial(transformers_witness, told, checkpoint, hints),
    )


def _agree(config: Settings, renamed: Mapping[str, torch.Tensor], pooler: Mapping[str, torch.Tensor]) -> None:
    """Compare what the configuration says with the shapes; see ``agree``."""
    if all(key in renamed for key in ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "pos_embed")):
        agree(config, renamed, hidden="intermediate_size")
    config.expect(
        "architectures",
        *_CLASSES,
        instead="deploykit reads ViTs and DeiTs of transformers as models and as image classifiers.",
    )
    config.harmless("used only in pre-training", "encoder_stride")
    config.harmless("read from the weights", "qkv_bias")
    if "dense.weight" in pooler:
        config.expect("pooler_act", "tanh")
        config.expect("pooler_output_size", len(pooler["dense.weight"]))
    config.harmless("there is no pooler", "pooler_act", "pooler_output_size")


def _unwrapped(key: str) -> str:
    for wrapper in _WRAPPERS:
        key = key.removeprefix(wrapper)
    return key


def _name(arch: ViTArchitecture, size: Size) -> str:
    name = size_name(arch)
    kind = "deit" if arch.distilled or arch.registers else "vit"
    distilled = "-distilled" if arch.distilled else ""
    return f"{kind}-{name}{distilled}-patch{arch.patch[0]}-{size[0]}" if name else ""
