"""EfficientNets from mmpretrain (and mmcls)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from deploykit_runtimes.contract.spec import Preprocess
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.efficientnet.names import compound_name, native_size
from deploykit_exporters.families.efficientnet.network import Activation
from deploykit_exporters.families.efficientnet.source import (
    STRIDES,
    EfficientNetSource,
    is_fused,
    read_plan,
    split_stages,
)
from deploykit_exporters.families.settings import Settings
from deploykit_exporters.families.shared.mm.config import mm_config, mm_preprocess, pipeline_size
from deploykit_exporters.families.shared.mm.model import MmModel
from deploykit_exporters.families.shared.mm.witness import mm_witness
from deploykit_exporters.families.shared.setting_values import as_mapping

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.families.efficientnet.network import EfficientNetPlan

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "mmpretrain"

_KEY = re.compile(r"layers\.(\d{1,4})\.(?:(\d{1,4})\.)?(.+)\.(\w+)")
_LAYER = re.compile(r"(?:backbone\.)?layers\.(\d{1,4})\.")
_END = {"conv": 0, "bn": 1}
_EXCITE = {"se.conv1.conv": "se.conv_reduce", "se.conv2.conv": "se.conv_expand"}
_INVERTED = {
    "expand_conv.conv": "conv_pw",
    "expand_conv.bn": "bn1",
    "depthwise_conv.conv": "conv_dw",
    "depthwise_conv.bn": "bn2",
    "linear_conv.conv": "conv_pwl",
    "linear_conv.bn": "bn3",
    **_EXCITE,
}
_SEPARABLE = {
    "depthwise_conv.conv": "conv_dw",
    "depthwise_conv.bn": "bn1",
    "linear_conv.conv": "conv_pw",
    "linear_conv.bn": "bn2",
    **_EXCITE,
}
_EDGE = {"conv1.conv": "conv_exp", "conv1.bn": "bn1", "conv2.conv": "conv_pwl", "conv2.bn": "bn2", **_EXCITE}
_PLAIN = {"conv": "conv", "bn": "bn1"}
# EfficientNet (v1, EdgeTPU) puts the stages that keep the resolution into the layer before them.
_MERGED_STRIDES = (1, 2, 2, 2, 2)
_ACTIVATIONS: dict[str, Activation] = {"Swish": "silu", "SiLU": "silu", "ReLU": "relu", "ReLU6": "relu6"}
_PADDED = "Conv2dAdaptivePadding"
_PIPELINES = ("test_pipeline", "test_dataloader", "data")
_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    return any(
        f"{wrapper}layers.0.conv.weight" in tensors
        and any(
            f"{wrapper}layers.1.0.{layer}.weight" in tensors
            for layer in ("depthwise_conv.conv", "conv1.conv", "conv")
        )
        for wrapper in ("backbone.", "")
    )


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EfficientNetSource:
    """Translate the keys, and read the configuration that mmengine stored in the file."""
    settings = mm_config(checkpoint.meta, hints.config)
    model = MmModel(settings, hints.ignore)
    model.expect_kind("EfficientNet", "EfficientNetV2")
    _check(model.backbone)
    told_act = model.activation(model.backbone, _ACTIVATIONS)
    names, strides = _names(tensors)
    model.expect_last(1 + max(int(match[1]) for key in tensors if (match := _LAYER.match(key))))
    translated = {ours: tensors[theirs] for ours, theirs in names.items()}
    plan = read_plan(
        translated,
        padding="same",
        eps=model.norm(model.backbone, 1e-3, "BN", "BN2d", "SyncBN", "MMSyncBN"),
        strides=strides,
        # Unless it is said, the constructor's; without a configuration the published weights' own.
        activation=cast("Activation | None", told_act or ("silu" if model.told else None)),
    )
    compound = compound_name(plan)
    told = any(key in settings for key in _PIPELINES)
    side = native_size(compound)
    return EfficientNetSource(
        tensors=translated,
        names=names,
        plan=plan,
        variant=_variant(compound),
        image_size=pipeline_size(settings) or (side, side),
        preprocess=partial(mm_preprocess, settings) if told else partial(_default, plan, compound),
        preprocess_from="the training's test_pipeline and data_preprocessor" if told else "",
        classes=_classes(checkpoint.meta),
        assumed=() if model.told else ("BatchNorm eps is mmpretrain's default, 1e-3.",),
        sigmoid=model.scores() == "sigmoid",
        witness=partial(mm_witness, settings, tensors, hints),
        settings=model.account(features=hints.features),
    )


def _check(backbone: Settings) -> None:
    """Refuse settings that cannot be built, and mark those that follow from the weights."""
    backbone.honoured("type", "norm_cfg", "act_cfg")
    backbone.harmless("read from the weights", "arch", "in_channels")
    convolution = as_mapping(backbone.get("conv_cfg", {})).get("type") if "conv_cfg" in backbone else _PADDED
    if convolution != _PADDED:
        raise CheckpointError(
            f"model.backbone says conv_cfg = {convolution}, which pads differently from {_PADDED}."
        )


def _variant(compound: str) -> str:
    version, _, scale = compound.rpartition("_")
    return f"efficientnet{version}-{scale}" if compound else ""


def _default(plan: EfficientNetPlan, compound: str, size: Size) -> Preprocess:
    """The evaluation in mmpretrain's own configurations (``configs/efficientnet``, ``efficientnet_v2``)."""
    halves = is_fused(plan) or compound == "b8"
    margin = 0 if is_fused(plan) and plan.activation == "silu" else 32
    return Preprocess(
        pre_crop=min(size) / (min(size) + margin),
        pre_crop_offset="even",
        resize="stretch",
        resize_to=size,
        interpolation="bicubic",
        resampler="opencv",
        scale=1.0,
        mean=(127.5,) * 3 if halves else _PIXEL_MEAN,
        std=(127.5,) * 3 if halves else _PIXEL_STD,
    )


def _names(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, str], tuple[int, ...]]:
    """The file's key for each key of the net, and the stride of each of the net's stages."""
    found = {
        key: match.groups()
        for key in tensors
        if (match := _KEY.fullmatch(key.removeprefix("backbone."))) is not None
    }
    last = max(int(layer) for layer, *_ in found.values())
    places, strides = _places(tensors, last)
    names = {}
    for key in tensors:
        layer, position, inner, kind = found.get(key, ("", None, "", ""))
        if (layer, position) in places:
            block = key.removesuffix(f"{inner}.{kind}")
            name = f"{places[layer, position]}{_layers(block, tensors).get(inner, inner)}.{kind}"
        elif position is None and layer in {"0", str(last)} and inner in _END:
            ends = ("conv_stem", "bn1") if layer == "0" else ("conv_head", "bn2")
            name = f"{ends[_END[inner]]}.{kind}"
        else:
            name = key.removeprefix("backbone.").replace("head.fc.", "classifier.")
        names[name] = key
    return names, strides


def _places(
    tensors: Mapping[str, torch.Tensor], last: int
) -> tuple[dict[tuple[str, str | None], str], tuple[int, ...]]:
    """``blocks.S.P.`` of each (layer, block), and the stride of each stage S."""
    wrapper = "backbone." if "backbone.layers.0.conv.weight" in tensors else ""
    per_layer = [_blocks(tensors, f"{wrapper}layers.{layer}.") for layer in range(1, last)]
    layer_strides = _MERGED_STRIDES if len(per_layer) == len(_MERGED_STRIDES) else STRIDES
    places: dict[tuple[str, str | None], str] = {}
    strides: list[int] = []
    for index, blocks in enumerate(per_layer):
        first = len(strides)
        for position, (stage, place) in enumerate(split_stages(blocks)):
            if place == 0:
                strides.append(layer_strides[index] if stage == 0 and index < len(layer_strides) else 1)
            places[str(index + 1), str(position)] = f"blocks.{first + stage}.{place}."
    return places, tuple(strides)


def _blocks(tensors: Mapping[str, torch.Tensor], layer: str) -> list[tuple[int, ...]]:
    """Output channels and kernel of each block of a layer."""
    numbers = {key.removeprefix(layer).partition(".")[0] for key in tensors if key.startswith(layer)}
    described: list[tuple[int, ...]] = []
    for number in sorted((number for number in numbers if number.isdecimal()), key=int):
        block = f"{layer}{number}."
        outputs = _dimension(tensors, 0, (f"{block}linear_conv.conv", f"{block}conv2.conv", f"{block}conv"))
        kernel = _dimension(
            tensors, -1, (f"{block}depthwise_conv.conv", f"{block}conv1.conv", f"{block}conv")
        )
        described.append((outputs, kernel))
    return described


def _dimension(tensors: Mapping[str, torch.Tensor], axis: int, layers: tuple[str, ...]) -> int:
    found = (tensors[f"{layer}.weight"] for layer in layers if f"{layer}.weight" in tensors)
    return next((tensor.shape[axis] for tensor in found if tensor.ndim == 4), 0)


def _layers(block: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    if f"{block}expand_conv.conv.weight" in tensors:
        return _INVERTED
    if f"{block}conv1.conv.weight" in tensors:
        return _EDGE
    return _PLAIN if f"{block}conv.weight" in tensors else _SEPARABLE


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...]:
    inner = as_mapping(meta.get("meta"))
    names = as_mapping(inner.get("dataset_meta")).get("classes", inner.get("CLASSES"))
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()
