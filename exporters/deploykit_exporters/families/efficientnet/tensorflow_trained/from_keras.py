"""EfficientNets from Keras: `qubvel/efficientnet` and `keras.applications`, as .h5 weights or models."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Preprocess
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.efficientnet.names import compound_name, native_size
from deploykit_exporters.families.efficientnet.source import EfficientNetSource, read_plan
from deploykit_exporters.families.efficientnet.tensorflow_trained.keras_layers import KerasLayers, read_layers
from deploykit_exporters.families.efficientnet.tensorflow_trained.training import (
    TENSORFLOW_EPS,
    tensorflow_evaluation,
)
from deploykit_exporters.families.shared.imagenet import IMAGENET_STD

if TYPE_CHECKING:
    import torch
    from torch import nn

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "keras"

_Normalisation = Callable[[Callable[[Size], Preprocess]], Callable[[Size], Preprocess]]

_BLOCK = re.compile(r"block(\d{1,3})([a-z]{1,2})_(.+)")
_TOP = {
    "stem_conv": "conv_stem",
    "stem_bn": "bn1",
    "top_conv": "conv_head",
    "top_bn": "bn2",
    "probs": "classifier",
    "predictions": "classifier",
}
_INVERTED = {
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "dwconv": "conv_dw",
    "bn": "bn2",
    "se_reduce": "se.conv_reduce",
    "se_expand": "se.conv_expand",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
}
_SEPARABLE = {
    "dwconv": "conv_dw",
    "bn": "bn1",
    "se_reduce": "se.conv_reduce",
    "se_expand": "se.conv_expand",
    "project_conv": "conv_pw",
    "project_bn": "bn2",
}
_KINDS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    layers = {key.partition("/")[0] for key in tensors}
    return {"stem_conv", "stem_bn", "block1a_dwconv"} <= layers


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EfficientNetSource:
    """Rename the layers, and transpose the channels-last kernels into torch's order.

    A model that was fine-tuned has a Dense layer of any name on top; it is taken as the classifier if it is
    the only one.

    Raises:
        CheckpointError: a layer has weights that no layer of an EfficientNet has.
    """
    inside = {key: tensor for key, tensor in tensors.items() if key.startswith("normalization/")}
    names = _names(tensors.keys() - inside.keys(), tensors)
    translated = {ours: _to_torch(theirs, tensors[theirs]) for ours, theirs in names.items()}
    layers = read_layers(checkpoint.meta.get("model_config"), hints.ignore)
    plan = read_plan(
        translated,
        padding="same",
        eps=TENSORFLOW_EPS if layers is None or layers.eps is None else layers.eps,
        activation=None if layers is None else layers.activation,
    )
    compound = compound_name(plan)
    evaluation = tensorflow_evaluation(compound, hints.config)
    own = None if evaluation.told_by else _own_normalisation(inside, checkpoint.meta)
    own_layer = "Normalization"
    if own is None and not evaluation.told_by and layers is not None and layers.rescaling is not None:
        own, own_layer = _own_rescaling(*layers.rescaling), "Rescaling"
    side = native_size(compound)
    return EfficientNetSource(
        tensors=translated,
        names=names,
        plan=plan,
        variant=f"EfficientNet{compound.upper()}" if compound else "",
        image_size=(side, side),
        preprocess=own(evaluation.build) if own else evaluation.build,
        preprocess_from=f"the model's own {own_layer} layer" if own else evaluation.told_by,
        sigmoid=layers is not None and layers.scores == "sigmoid",
        assumed=_assumed(layers),
        settings=() if layers is None else layers.settings,
        confirm=None if layers is None else partial(_confirm, layers, names),
    )


def _assumed(layers: KerasLayers | None) -> tuple[str, ...]:
    if layers is None:
        return ("Weights alone: BatchNormalization with epsilon 1e-3, and a softmax after the classifier.",)
    if layers.scores in {"", "linear"}:
        return ("The last layer of the Keras model has no activation: its answers are assumed to be logits.",)
    return ()


def _confirm(layers: KerasLayers, names: Mapping[str, str], net: nn.Module) -> None:
    """Compare the strides.

    Raises:
        CheckpointError: a convolution's stride differs.
    """
    for path, module in net.named_modules():
        layer = names.get(f"{path}.weight", "").partition("/")[0]
        told = layers.strides.get(layer)
        if told is not None and told != getattr(module, "stride", told):
            raise CheckpointError(
                f"The Keras layer {layer} has strides {told}; deploykit builds {tuple(module.stride)} there."
            )


def _own_rescaling(scale: float, offset: float) -> _Normalisation:
    """A Rescaling layer's effect on pixels of 0 to 255, as mean and std of pixels divided by 255."""
    std = 1 / (255 * scale)
    mean = -offset * std
    return lambda build: lambda size: replace(build(size), mean=(mean,) * 3, std=(std,) * 3)


def _names(keys: set[str], tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The file's key for each key of the net."""
    layers = {key.partition("/")[0] for key in keys}
    dense = {
        key.partition("/")[0]
        for key in keys
        if _kind(key) == "kernel" and tensors[key].ndim == 2 and key.partition("/")[0] not in _TOP
    }
    tops = (
        _TOP if len(dense) != 1 or layers & {"probs", "predictions"} else {**_TOP, dense.pop(): "classifier"}
    )
    names = {}
    for key in (key for key in tensors if key in keys):
        if _kind(key) not in _KINDS:
            raise CheckpointError(
                f"The weights of a Keras EfficientNet are called {', '.join(_KINDS)}; found {key}."
            )
        layer = key.partition("/")[0]
        names[f"{_layer(layer, layers) or tops.get(layer, layer)}.{_KINDS[_kind(key)]}"] = key
    return names


def _kind(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(":0")


def _layer(layer: str, layers: set[str]) -> str:
    """A block's layer in the network's names; empty for a layer outside the blocks."""
    match = _BLOCK.fullmatch(layer)
    if match is None:
        return ""
    stage, letters, name = match.groups()
    names = _INVERTED if f"block{stage}{letters}_expand_conv" in layers else _SEPARABLE
    return f"blocks.{int(stage) - 1}.{_position(letters)}.{names.get(name, name)}"


def _position(letters: str) -> int:
    """a, b, ..., z, aa, ab, ... counted from 0."""
    position = 0
    for letter in letters:
        position = 26 * position + ord(letter) - ord("a") + 1
    return position - 1


def _to_torch(key: str, tensor: torch.Tensor) -> torch.Tensor:
    kind = _kind(key)
    if kind == "depthwise_kernel" and tensor.ndim == 4:  # [h, w, channels, 1] -> [channels, 1, h, w]
        return tensor.permute(2, 3, 0, 1).contiguous()
    if kind == "kernel" and tensor.ndim == 4:  # [h, w, in, out] -> [out, in, h, w]
        return tensor.permute(3, 2, 0, 1).contiguous()
    if kind == "kernel" and tensor.ndim == 2:  # [in, out] -> [out, in]
        return tensor.T.contiguous()
    return tensor


def _own_normalisation(tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> _Normalisation | None:
    """The effect of a `keras.applications` model's first layers on pixels divided by 255.

    The weights trained on ImageNet hold the standard deviation in place of the variance, and the
    model divides by its root once more, in a second Rescaling layer.
    """
    found = {_kind(key): tensor.double().flatten().tolist() for key, tensor in tensors.items()}
    if not {"mean", "variance"} <= found.keys():
        return None
    twice = "rescaling_1" in meta.get("layer_names", ())
    extra = [math.sqrt(std) if twice else 1.0 for std in IMAGENET_STD]
    mean = tuple(found["mean"])
    std = tuple(math.sqrt(max(v, 0.0)) * more for v, more in zip(found["variance"], extra, strict=False))
    return lambda build: lambda size: replace(build(size), mean=mean, std=std)
