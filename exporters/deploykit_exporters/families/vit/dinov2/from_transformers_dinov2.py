"""DINOv2 of Hugging Face transformers: ``Dinov2Model``, ``Dinov2WithRegistersModel`` and their classifiers,
whose head sees the class token and the mean of the patches.

Files on disk name the layers differently than a ``state_dict()`` of transformers 5; both are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deploykit_exporters.families.shared.transformers_library.files import (
    config_settings,
    described,
    label_names,
    output_activation,
    read_processor,
)
from deploykit_exporters.families.shared.transformers_library.witness import transformers_witness
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.dinov2.from_dinov2 import (
    add_class_position,
    dinov2_input_size,
    head_layers,
)
from deploykit_exporters.families.vit.network import ViTArchitecture
from deploykit_exporters.families.vit.positions import Resampling
from deploykit_exporters.families.vit.source import VitSource, as_size, name_in_file, rename, size_name
from deploykit_exporters.families.vit.transformers_layers import activation_name, agree, pack_pairs, pack_qkv

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "transformers"
_WRAPPERS = ("", "dinov2.", "dinov2_with_registers.")
_RULES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
    "classifier": "head",
}
_BLOCKS = {
    "attention.attention.query": "attn.q",
    "attention.attention.key": "attn.k",
    "attention.attention.value": "attn.v",
    "attention.output.dense": "attn.proj",
    "attention.q_proj": "attn.q",
    "attention.k_proj": "attn.k",
    "attention.v_proj": "attn.v",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
    "mlp.down_proj": "mlp.fc2",
}
_CLASSES = [
    [f"{name}{kind}"]
    for name in ("Dinov2", "Dinov2WithRegisters")
    for kind in ("Model", "ForImageClassification")
]
_EVALUATION = {"size": {"shortest_edge": 256}, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    own = ("embeddings.patch_embeddings.projection.weight", "encoder.layer.0.layer_scale1.lambda1")
    return any(all(f"{wrapper}{key}" in tensors for key in own) for wrapper in _WRAPPERS)


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> VitSource:
    """Rename the weights and read both JSON files."""
    told = described(checkpoint, hints)
    config = config_settings("config.json", told, hints)
    used, unused = take_unused(
        {_unwrapped(key): tensor for key, tensor in tensors.items()},
        {"used only in pre-training": ("embeddings.mask_token",)},
    )
    apart = rename(used, _RULES, block="encoder.layer.", blocks=_BLOCKS)
    packed = pack_qkv(apart, name=lambda key: name_in_file(key, apart, tensors))
    renamed = pack_pairs(packed, ("mlp.gate_proj", "mlp.up_proj"), "mlp.fc1")
    registers = "reg_token" in renamed
    if registers:
        add_class_position(renamed)
    processor = read_processor(checkpoint, hints, "Bit", **_EVALUATION)
    heads = config.get("num_attention_heads")
    _agree(config, renamed)
    width = renamed["patch_embed.proj.weight"].shape[0]
    # A classifier of the user's own on Dinov2Model takes what that model gives.
    on_class_token = "head.weight" in renamed and renamed["head.weight"].shape[1] == width
    layers = 0 if on_class_token else head_layers(renamed, width)
    return VitSource(
        tensors=renamed,
        original=tensors,
        resampling=Resampling(antialias=registers),
        preprocess=processor.preprocess,
        preprocess_from=processor.found,
        name=_name,
        num_heads=None if heads is None else int(heads),
        image_size=as_size(config.get("image_size")),
        input_size=processor.size if processor.found else dinov2_input_size(renamed),
        pool="token",
        eps=float(config.get("layer_norm_eps", 1e-6)),
        activation=activation_name(config.get("hidden_act", "gelu")),
        classes=label_names(config.get("id2label")),
        head_layers=layers,
        assumed=("The classifier takes pooler_output, the class token.",) if on_class_token else (),
        scores=output_activation(told),
        unstated=() if told else ("activation", "eps"),
        settings=(*unused, *config.account(strict=True), *processor.settings),
        witness=partial(transformers_witness, told, checkpoint, hints),
    )


def _unwrapped(key: str) -> str:
    for wrapper in _WRAPPERS[1:]:
        key = key.removeprefix(wrapper)
    return key


def _agree(config: Any, renamed: Mapping[str, torch.Tensor]) -> None:
    """Compare what the configuration says with the shapes; see ``agree``."""
    agree(config, renamed, hidden=None)
    config.expect(
        "architectures",
        *_CLASSES,
        instead=(
            "A backbone gives the maps of several layers; the tokens of the last one are exported with "
            "--ignore config.json:architectures"
        ),
    )
    config.harmless(
        "of the backbone class only", *("*out_features", "*out_indices", "stage_names", "apply_layernorm")
    )
    config.harmless("of the backbone class only", "reshape_hidden_states", "backbone*", "use_timm_backbone")
    config.harmless("DINOv2 takes mlp_ratio", "intermediate_size")
    config.harmless("read from the weights", "use_mask_token", "qkv_bias", "mlp_ratio")
    gated = renamed["blocks.0.mlp.fc1.weight"].shape[0] != renamed["blocks.0.mlp.fc2.weight"].shape[1]
    config.expect("use_swiglu_ffn", gated)
    config.expect("num_register_tokens", renamed["reg_token"].shape[1] if "reg_token" in renamed else 0)


def _name(arch: ViTArchitecture, _: Size) -> str:
    """The model's name on the Hugging Face hub."""
    name = size_name(arch)
    if name is None:
        return ""
    return f"dinov2-with-registers-{name}" if arch.registers else f"dinov2-{name}"
