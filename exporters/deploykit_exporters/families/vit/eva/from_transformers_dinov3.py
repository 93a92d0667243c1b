"""DINOv3 from Hugging Face transformers (``DINOv3ViTModel``), built as timm's ``Eva``, which computes the
same.

Files on disk say ``layer.0.*``, a ``state_dict()`` of transformers 5 says ``model.layer.0.*``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deploykit_exporters.families.shared.transformers_library.files import (
    config_settings,
    described,
    label_names,
    output_activation,
    read_processor,
    refuse_unread,
)
from deploykit_exporters.families.shared.transformers_library.witness import transformers_witness
from deploykit_exporters.families.shared.unused import take_unused
from deploykit_exporters.families.vit.eva.source import EvaSource
from deploykit_exporters.families.vit.source import as_size, name_in_file, rename
from deploykit_exporters.families.vit.transformers_layers import pack_qkv, replace_activation

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.families.settings import Settings

__all__ = ["ORIGIN", "build_dinov3", "matches", "read", "with_biases"]

ORIGIN = "transformers"
_RULES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings": "patch_embed.proj",
    "classifier": "head",
}
_BLOCKS = {
    "attention.q_proj": "attn.q",
    "attention.k_proj": "attn.k",
    "attention.v_proj": "attn.v",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "gamma_1",
    "layer_scale2.lambda1": "gamma_2",
    "mlp.down_proj": "mlp.fc2",
}
_GATED = {"mlp.gate_proj": "mlp.fc1_g", "mlp.up_proj": "mlp.fc1_x"}
_PLAIN = {"mlp.up_proj": "mlp.fc1"}
_BIASES = {
    "query_bias": "attn.q",
    "key_bias": "attn.k",
    "value_bias": "attn.v",
    "proj_bias": "attn.proj",
    "mlp_bias": "mlp.fc2",
}
_EVALUATION = {"resample": 2, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
_NAMES = {384: "small", 768: "base", 1024: "large", 1280: "huge", 4096: "7b"}
_WIDTH = 64
_BELONGS = "Give the config.json that belongs to these weights."
_ROUNDED = (
    "Resized pixels are rounded to whole grey levels, which transformers' DINOv3 processor does not do: "
    "inputs differ by up to half a level."
)


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    scales = ("layer.0.layer_scale1.lambda1", "model.layer.0.layer_scale1.lambda1")
    return "embeddings.patch_embeddings.weight" in tensors and any(key in tensors for key in scales)


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EvaSource:
    """Rename the weights and read both JSON files.

    Raises:
        CheckpointError: config.json does not belong to the weights, or asks for something that cannot be
            built.
    """
    refuse_unread(hints)
    told = described(checkpoint, hints)
    config = config_settings("config.json", told, hints)
    used, unused = take_unused(
        {key.removeprefix("model."): tensor for key, tensor in tensors.items()},
        {
            "used only in pre-training": ("embeddings.mask_token",),
            "computed from the size": ("rope_embeddings.*",),
        },
    )
    gated = "layer.0.mlp.gate_proj.weight" in used
    apart = rename(used, _RULES, block="layer.", blocks={**_BLOCKS, **(_GATED if gated else _PLAIN)})
    missing = [key for key in ("blocks.0.mlp.fc2.weight", "blocks.0.attn.q.weight") if key not in apart]
    if missing:
        lost = ", ".join(name_in_file(key, apart, tensors) for key in missing)
        raise CheckpointError(f"The checkpoint is not a complete DINOv3; missing: {lost}.")
    renamed = pack_qkv(with_biases(apart), name=lambda key: name_in_file(key, apart, tensors))
    if "reg_token" in renamed and not renamed["reg_token"].shape[1]:
        del renamed["reg_token"]
    processor = read_processor(checkpoint, hints, "DINOv3ViT", **_EVALUATION)
    width = int(renamed["patch_embed.proj.weight"].shape[0])
    trained = as_size(config.get("image_size")) or (224, 224)
    for name, layer in _BIASES.items():
        config.expect(name, _has_bias(apart, layer), instead=_BELONGS)
    arguments = _arguments(config, renamed, trained, gated=gated)
    return EvaSource(
        tensors=renamed,
        network=partial(build_dinov3, arguments, config.get("hidden_act", "gelu")),
        name=f"dinov3-vit-{_NAMES[width]}{patch_name(renamed)}"
        if width in _NAMES
        else f"dinov3-vit-d{width}",
        title="DINOv3 in transformers' form",
        trained=trained,
        image_size=(processor.size if processor.found else None) or trained,
        preprocess=processor.preprocess,
        preprocess_from=processor.found,
        classes=label_names(config.get("id2label")),
        scores=output_activation(told),
        assumed=(*(() if told else (_assumed(arguments),)), _ROUNDED),
        settings=(*unused, *config.account(strict=True), *processor.settings),
        witness=partial(transformers_witness, told, checkpoint, hints),
        name_in_file=lambda key: name_in_file(key, renamed, tensors),
    )


def patch_name(tensors: Mapping[str, torch.Tensor]) -> str:
    """How names of these models give the patch size."""
    return f"-patch{tensors['patch_embed.proj.weight'].shape[-1]}"


def with_biases(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with zeros for biases that a layer has in no block."""
    found = dict(tensors)
    there = {key.split(".", 2)[2] for key in tensors if key.startswith("blocks.")}
    for key, tensor in tensors.items():
        layer, _, kind = key.rpartition(".")
        inner = layer.startswith("blocks.") and (".attn." in layer or ".mlp." in layer)
        if inner and kind == "weight" and f"{layer.split('.', 2)[2]}.bias" not in there:
            found[f"{layer}.bias"] = tensor.new_zeros(tensor.shape[0])
    return found


def _has_bias(tensors: Mapping[str, torch.Tensor], layer: str) -> bool:
    return any(key.startswith("blocks.") and key.endswith(f".{layer}.bias") for key in tensors)


def _arguments(
    config: Settings, tensors: Mapping[str, torch.Tensor], trained: Size, *, gated: bool
) -> dict[str, Any]:
    """The arguments of timm's ``Eva``; compares what the configuration says with the shapes.

    Raises:
        CheckpointError: they do not agree.
    """
    width, channels, *patch = tensors["patch_embed.proj.weight"].shape
    hidden = tensors["blocks.0.mlp.fc2.weight"].shape[1]
    depth = len({key.split(".")[1] for key in tensors if key.startswith("blocks.")})
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    sizes: dict[str, tuple[Any, ...]] = {
        "hidden_size": (width,),
        "intermediate_size": (hidden,),
        "num_hidden_layers": (depth,),
        "num_channels": (channels,),
        "patch_size": (patch[0], list(patch)) if patch[0] == patch[1] else (list(patch),),
        "num_register_tokens": (registers,),
        "use_gated_mlp": (gated,),
    }
    for name, allowed in sizes.items():
        config.expect(name, *allowed, instead=_BELONGS)
    config.expect(
        "architectures",
        ["DINOv3ViTModel"],
        instead=(
            "A backbone gives the maps of several layers; the tokens of the last one are exported with "
            "--ignore config.json:architectures"
        ),
    )
    config.harmless("used only in training", "pos_embed_*")
    config.harmless(
        "of the backbone class only",
        *("*out_features", "*out_indices", "stage_names", "apply_layernorm", "reshape_hidden_states"),
    )
    heads = int(config.get("num_attention_heads", max(1, width // _WIDTH)))
    if heads < 1 or width % heads or (width // heads) % 4:
        raise CheckpointError(
            f"{config.where} says num_attention_heads = {heads}, which does not divide {width} channels."
        )
    return {
        "img_size": trained,
        "patch_size": tuple(patch),
        "in_chans": channels,
        "num_classes": int(tensors["head.weight"].shape[0]) if "head.weight" in tensors else 0,
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
        # timm truncates the product: half a unit more keeps rounding away.
        "mlp_ratio": (hidden + 0.5) / width,
        "swiglu_mlp": gated,
        "swiglu_align_to": int(gated),
        "num_reg_tokens": registers,
        "init_values": 1.0,
        "rope_temperature": float(config.get("rope_theta", 100.0)),
        "eps": float(config.get("layer_norm_eps", 1e-5)),
    }


def build_dinov3(arguments: Mapping[str, Any], activation: Any) -> Any:
    """timm's network, without weights.

    Args:
        arguments: Arguments of its constructor, with the ``eps`` of the norms.
        activation: Activation of the MLPs.

    Raises:
        CheckpointError: timm does not know the activation.
    """
    from torch import nn

    eva = require("timm.models.eva", extra="export", purpose="build a DINOv3")
    given = {key: value for key, value in arguments.items() if key != "eps"}
    net = eva.Eva(
        **given,
        global_pool="token",
        attn_type="rope",
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        rope_type="dinov3",
        rope_rotate_half=True,
        norm_layer=partial(nn.LayerNorm, eps=arguments["eps"]),
        dynamic_img_size=True,
    )
    replace_activation(net, activation)
    return net


def _assumed(arguments: Mapping[str, Any]) -> str:
    return (
        f"{arguments['num_heads']} attention heads ({_WIDTH} channels each), rope_theta 100, GELU and eps "
        "1e-5: there is no config.json; --config takes one."
    )
