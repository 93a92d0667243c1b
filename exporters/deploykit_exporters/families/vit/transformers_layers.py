"""Layers of transformers, converted to timm's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

from deploykit_exporters.families.vit.source import as_size

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.families.settings import Settings

__all__ = ["BLOCKS", "activation_name", "agree", "pack_pairs", "pack_qkv", "replace_activation"]

BLOCKS = {
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
"""The layers of a block of ViT, DeiT and BEiT, in both key styles, and what timm calls them."""

_TOKENS = 2  # of the class and of distillation
_BELONGS = "Give the config.json that belongs to these weights."
_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_python": "gelu"}


def activation_name(hidden_act: Any) -> str:
    """timm's name of an activation."""
    return _ACTIVATIONS.get(str(hidden_act), str(hidden_act))


def replace_activation(net: Any, hidden_act: Any) -> None:
    """Give the MLPs of a timm network the activation that a configuration names.

    Args:
        net: The network, with ``blocks`` that each have an ``mlp.act``.
        hidden_act: transformers' name of the activation.

    Raises:
        CheckpointError: timm does not know the activation.
    """
    layers = require("timm.layers", extra="export", purpose="build a ViT")
    try:
        layer = layers.get_act_layer(activation_name(hidden_act))
    except (KeyError, AssertionError):
        layer = None
    if layer is None:
        raise CheckpointError(f"config.json says hidden_act = {hidden_act!r}, which is not known.")
    for block in net.blocks:
        block.mlp.act = layer()


def pack_qkv(tensors: Mapping[str, torch.Tensor], *, name: Callable[[str], str]) -> dict[str, torch.Tensor]:
    """Stack query, key and value of each block, as in timm.

    Args:
        tensors: Weights, with ``blocks.0.attn.q``, ``k`` and ``v``.
        name: The file's name for a weight.

    Raises:
        CheckpointError: one of the three is missing, or they have different shapes.
    """
    packed = {}
    for key, tensor in tensors.items():
        layer, _, kind = key.rpartition(".")
        if not layer.endswith((".attn.q", ".attn.k", ".attn.v")):
            packed[key] = tensor
            continue
        parts = [f"{layer[:-1]}{letter}.{kind}" for letter in "qkv"]
        missing = [name(part) for part in parts if part not in tensors]
        if missing:
            raise CheckpointError(
                f"Attention has a {kind} for query, key and value or for none; missing: {', '.join(missing)}."
            )
        if layer.endswith("q"):
            packed[f"{layer[:-1]}qkv.{kind}"] = _stack(tensors, parts, name)
    return packed


def _stack(
    tensors: Mapping[str, torch.Tensor], keys: Sequence[str], name: Callable[[str], str]
) -> torch.Tensor:
    """Tensors of the same shape, concatenated along their first axis.

    Raises:
        CheckpointError: they have different shapes.
    """
    import torch

    shapes = {tuple(tensors[key].shape) for key in keys}
    if len(shapes) > 1 or () in shapes:
        told = ", ".join(f"{name(key)} is {list(tensors[key].shape)}" for key in keys)
        raise CheckpointError(f"Parts of one layer have different shapes: {told}.")
    return torch.cat([tensors[key] for key in keys])


def pack_pairs(
    tensors: Mapping[str, torch.Tensor], names: tuple[str, str], packed: str
) -> dict[str, torch.Tensor]:
    """Stack two layers of each block into one, in the order of ``names``; a single one is unchanged."""
    together = {}
    for key, tensor in tensors.items():
        layer, _, kind = key.rpartition(".")
        mine = next((name for name in names if layer.endswith(f".{name}")), None)
        both = [] if mine is None else [f"{layer.removesuffix(mine)}{name}.{kind}" for name in names]
        if mine is None or any(one not in tensors for one in both):
            together[key] = tensor
        elif mine == names[0]:
            together[f"{layer.removesuffix(mine)}{packed}.{kind}"] = _stack(tensors, both, str)
    return together


def agree(config: Settings, renamed: Mapping[str, torch.Tensor], *, hidden: str | None) -> None:
    """Compare the sizes in a configuration with those of the weights.

    Args:
        hidden: The configuration's name for the width of the MLP; None if it does not give it.

    Raises:
        CheckpointError: they do not agree; the message names the setting.
    """
    projection = renamed["patch_embed.proj.weight"]
    blocks = {key.split(".")[1] for key in renamed if key.startswith("blocks.")}
    patch = projection.shape[-1]
    sizes: dict[str, tuple[Any, ...]] = {
        "hidden_size": (projection.shape[0],),
        "num_hidden_layers": (len(blocks),),
        "num_channels": (projection.shape[1],),
        "patch_size": (patch, list(projection.shape[2:])),
    }
    if hidden is not None:
        sizes[hidden] = (renamed["blocks.0.mlp.fc1.weight"].shape[0],)
    for name, allowed in sizes.items():
        config.expect(name, *allowed, instead=_BELONGS)
    image, positions = as_size(config.get("image_size")), renamed["pos_embed"].shape[1]
    if image is not None:
        patches = (image[0] // projection.shape[2]) * (image[1] // projection.shape[3])
        if not patches <= positions <= patches + _TOKENS:
            raise CheckpointError(
                f"{config.where} says image_size = {image[0]}x{image[1]}, which is {patches} patches; the "
                f"weights have {positions} positions.",
                hint=_BELONGS,
            )
