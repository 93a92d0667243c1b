"""EfficientNets from Hugging Face transformers, with config.json and preprocessor_config.json.

Convolutions that halve the resolution have paddings that depend on config.json (``depthwise_padding``).
These are TensorFlow's at the training size of the published models, and stay the same at all other sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.efficientnet.names import compound_name, native_size
from deploykit_exporters.families.efficientnet.network import Activation, BlockPlan, EfficientNetPlan
from deploykit_exporters.families.efficientnet.source import (
    STRIDES,
    EfficientNetSource,
    read_plan,
    split_stages,
)
from deploykit_exporters.families.efficientnet.tensorflow_trained.training import TENSORFLOW_EPS
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN
from deploykit_exporters.families.shared.setting_values import sides_of
from deploykit_exporters.families.shared.transformers_library.files import (
    config_settings,
    described,
    label_names,
    output_activation,
    read_processor,
    refuse_unread,
)
from deploykit_exporters.families.shared.transformers_library.witness import transformers_witness

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.families.settings import Settings

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "transformers"

_WRAPPERS = ("", "efficientnet.")
_TOP = {
    "embeddings.convolution": "conv_stem",
    "embeddings.batchnorm": "bn1",
    "encoder.top_conv": "conv_head",
    "encoder.top_bn": "bn2",
}
_EXCITE = {"squeeze_excite.reduce": "se.conv_reduce", "squeeze_excite.expand": "se.conv_expand"}
_INVERTED = {
    "expansion.expand_conv": "conv_pw",
    "expansion.expand_bn": "bn1",
    "depthwise_conv.depthwise_conv": "conv_dw",
    "depthwise_conv.depthwise_norm": "bn2",
    "projection.project_conv": "conv_pwl",
    "projection.project_bn": "bn3",
    **_EXCITE,
}
_SEPARABLE = {
    "depthwise_conv.depthwise_conv": "conv_dw",
    "depthwise_conv.depthwise_norm": "bn1",
    "projection.project_conv": "conv_pw",
    "projection.project_bn": "bn2",
    **_EXCITE,
}
_ACTIVATIONS: dict[str, Activation] = {
    "swish": "silu",
    "silu": "silu",
    "relu": "relu",
    "relu6": "relu6",
    "gelu": "gelu",
    "leaky_relu": "leaky_relu",
    "mish": "mish",
}
_CLASSES = (["EfficientNetModel"], ["EfficientNetForImageClassification"])
_STEM_PADS = (0, 1)
_STEM, _HEAD = 32, 1280
# What the configuration class of transformers takes where the file says nothing: those of B7.
_DEFAULTS: dict[str, tuple[int, ...]] = {
    "kernel_sizes": (3, 3, 5, 3, 5, 5, 3),
    "in_channels": (32, 16, 24, 40, 80, 112, 192),
    "out_channels": (16, 24, 40, 80, 112, 192, 320),
    "strides": STRIDES,
    "num_block_repeats": (1, 2, 2, 3, 3, 4, 1),
    "expand_ratios": (1, 6, 6, 6, 6, 6, 6),
    "depthwise_padding": (),
}
_NUMBERS = {
    "width_coefficient": 2.0,
    "depth_coefficient": 3.1,
    "depth_divisor": 8,
    "squeeze_expansion_ratio": 0.25,
}
# The published processors: nearest neighbour, and std twice.
_EVALUATION = {"resample": 0, "image_mean": IMAGENET_MEAN, "image_std": (0.47853944, 0.4732864, 0.47434163)}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the keys are those of transformers. One of the two may be missing, so that an error can name
    it.
    """
    ours = ("embeddings.convolution.weight", "encoder.blocks.0.depthwise_conv.depthwise_conv.weight")
    return any(
        any(f"{wrapper}{key}" in tensors for key in ours)
        and any(key.startswith(f"{wrapper}encoder.blocks.0.") for key in tensors)
        for wrapper in _WRAPPERS
    )


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EfficientNetSource:
    """Translate the keys; the stages come from the configuration, otherwise from the weights and the
    published models.

    Raises:
        CheckpointError: config.json does not belong to the weights, or asks for something that cannot be
            built.
    """
    refuse_unread(hints)
    told = described(checkpoint, hints)
    config = config_settings("config.json", told, hints)
    stages = _stages(config) if config else None
    names = _names(tensors, None if stages is None else [len(stage) for stage in stages])
    translated = {ours: tensors[theirs] for ours, theirs in names.items()}
    plan = read_plan(
        translated,
        padding="symmetric",
        eps=float(config.get("batch_norm_eps", TENSORFLOW_EPS)),
        activation=_activation(config),
    )
    compound = compound_name(plan)
    processor = read_processor(
        checkpoint, hints, "EfficientNet", **_EVALUATION, size=_square(native_size(compound))
    )
    if stages is None:
        stages = _published(plan, native_size(compound))
    else:
        _agree(config, plan, stages)
    side, trained = native_size(compound), _size(config)
    return EfficientNetSource(
        tensors=translated,
        names=names,
        plan=replace(plan, stages=stages, stem_pads=_STEM_PADS),
        variant=f"efficientnet-{compound}" if compound else "",
        image_size=(processor.size if processor.found else None) or trained or (side, side),
        preprocess=processor.preprocess,
        preprocess_from=processor.found,
        classes=label_names(config.get("id2label")),
        scores=output_activation(told),
        assumed=() if config else (_guess(side),),
        settings=(*config.account(strict=True), *processor.settings),
        witness=partial(transformers_witness, told, checkpoint, hints),
    )


def _names(tensors: Mapping[str, torch.Tensor], depths: list[int] | None) -> dict[str, str]:
    """The file's key for each key of the net.

    Args:
        depths: Blocks of each stage; None: as the shapes show.

    Raises:
        CheckpointError: there are more or fewer blocks.
    """
    inside = {_unwrapped(key): key for key in tensors}
    found = {key.split(".")[2] for key in inside if key.startswith("encoder.blocks.")}
    numbers = sorted((number for number in found if number.isdecimal()), key=int)
    if depths is None:
        places = split_stages([_description(tensors, inside, number) for number in numbers])
    else:
        places = [(stage, position) for stage, depth in enumerate(depths) for position in range(depth)]
        if len(places) != len(numbers):
            raise CheckpointError(
                f"config.json describes {len(places)} blocks (num_block_repeats, depth_coefficient), the "
                f"weights have {len(numbers)}.",
                hint="Give the config.json that belongs to these weights.",
            )
    at = dict(zip(numbers, places, strict=True))
    names = {}
    for key, theirs in inside.items():
        layer, _, kind = key.rpartition(".")
        parts = layer.split(".")
        if key.startswith("encoder.blocks.") and parts[2] in at:
            block = f"encoder.blocks.{parts[2]}."
            layers = _INVERTED if f"{block}expansion.expand_conv.weight" in inside else _SEPARABLE
            inner = layer.removeprefix(block)
            stage, position = at[parts[2]]
            names[f"blocks.{stage}.{position}.{layers.get(inner, inner)}.{kind}"] = theirs
        else:
            names[f"{_TOP.get(layer, layer)}.{kind}"] = theirs
    return names


def _description(
    tensors: Mapping[str, torch.Tensor], inside: Mapping[str, str], number: str
) -> tuple[int, ...]:
    """Output channels and kernel of a block, and whether it expands."""
    block = f"encoder.blocks.{number}."
    project, depthwise = (
        tensors.get(inside.get(f"{block}{layer}.weight", ""))
        for layer in ("projection.project_conv", "depthwise_conv.depthwise_conv")
    )
    outputs = project.shape[0] if project is not None and project.ndim == 4 else 0
    kernel = depthwise.shape[-1] if depthwise is not None and depthwise.ndim == 4 else 0
    return outputs, kernel, int(f"{block}expansion.expand_conv.weight" in inside)


def _unwrapped(key: str) -> str:
    return key.removeprefix(_WRAPPERS[1])


def _stages(config: Settings) -> tuple[tuple[BlockPlan, ...], ...]:
    """The blocks that a configuration describes.

    Raises:
        CheckpointError: the values do not describe any.
    """
    lists = {name: _integers(config, name, default) for name, default in _DEFAULTS.items()}
    square = set(lists.pop("depthwise_padding"))
    width, depth, divisor, squeeze = (_number(config, name, default) for name, default in _NUMBERS.items())
    if len({len(values) for values in lists.values()}) != 1 or not set(lists["strides"]) <= {1, 2}:
        raise CheckpointError(
            f"{config.where} has to describe as many stages with {', '.join(lists)}, of strides 1 or 2.",
            hint="Give the config.json that belongs to these weights.",
        )
    stages: list[tuple[BlockPlan, ...]] = []
    for index, repeats in enumerate(lists["num_block_repeats"]):
        blocks = []
        first = sum(map(len, stages))
        outputs = _rounded(lists["out_channels"][index], width, divisor)
        for position in range(math.ceil(depth * repeats)):
            inputs = outputs if position else _rounded(lists["in_channels"][index], width, divisor)
            kernel, ratio = lists["kernel_sizes"][index], lists["expand_ratios"][index]
            stride = 1 if position else lists["strides"][index]
            blocks.append(
                BlockPlan(
                    kind="separable" if ratio == 1 else "inverted",
                    inputs=inputs,
                    middle=inputs * ratio,
                    outputs=outputs,
                    reduced=max(1, int(inputs * squeeze)),
                    kernel=kernel,
                    stride=stride,
                    # The first block of a stage has no residual connection, even where it would fit.
                    residual=position > 0,
                    pads=_pads(kernel, stride, square=first + position in square),
                )
            )
        stages.append(tuple(blocks))
    return tuple(stages)


def _rounded(channels: int, width: float, divisor: float) -> int:
    """Channels of a scaled network, as ``round_filters`` of transformers gives them."""
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return int(rounded + divisor if rounded < 0.9 * scaled else rounded)


def _pads(kernel: int, stride: int, *, square: bool) -> tuple[int, int] | None:
    """Zeros before and after; ``square``: the same number on both sides."""
    return None if stride == 1 else (kernel // 2 if square else kernel // 2 - 1, kernel // 2)


def _published(plan: EfficientNetPlan, side: int) -> tuple[tuple[BlockPlan, ...], ...]:
    """The blocks of a plan with the padding of a model made for images of a given size: SAME padding is
    symmetric if the number of pixels is odd.
    """
    pixels = side // 2
    stages = []
    for stage in plan.stages:
        blocks = []
        for position, block in enumerate(stage):
            pads = _pads(block.kernel, block.stride, square=pixels % 2 == 1)
            blocks.append(replace(block, pads=pads, residual=position > 0))
            pixels = -(-pixels // block.stride)
        stages.append(tuple(blocks))
    return tuple(stages)


def _agree(config: Settings, plan: EfficientNetPlan, stages: Iterable[tuple[BlockPlan, ...]]) -> None:
    """Compare the configuration with the shapes, and mark what cannot change an answer.

    Raises:
        CheckpointError: they do not agree.
    """
    belongs = "Give the config.json that belongs to these weights."
    width, divisor = (
        _number(config, name, _NUMBERS[name]) for name in ("width_coefficient", "depth_divisor")
    )
    ends = ((_STEM, plan.stem, "the stem"), (_HEAD, plan.head, "the last convolution"))
    for channels, found, where in ends:
        if found and _rounded(channels, width, divisor) != found:
            raise CheckpointError(
                f"{config.where} describes {_rounded(channels, width, divisor)} channels of {where} "
                f"(width_coefficient, depth_divisor), the weights have {found}.",
                hint=belongs,
            )
    both = zip(chain.from_iterable(stages), chain.from_iterable(plan.stages), strict=True)
    for index, (there, here) in enumerate(both):
        for name in ("kind", "inputs", "middle", "outputs", "reduced", "kernel"):
            if getattr(there, name) != getattr(here, name):
                raise CheckpointError(
                    f"{config.where} describes block {index} with {name} = {getattr(there, name)}, the "
                    f"weights have {getattr(here, name)}.",
                    hint=belongs,
                )
    config.expect("architectures", *_CLASSES)
    config.expect("num_channels", plan.channels, instead=belongs)
    config.expect("hidden_dim", plan.head, instead=belongs)
    config.expect("pooling_type", "mean")
    config.harmless("used only in training", "batch_norm_momentum", "drop_connect_rate")
    config.harmless("not used", "num_hidden_layers")


def _activation(config: Settings) -> Activation:
    name = str(config.get("hidden_act", "swish"))
    if name not in _ACTIVATIONS:
        raise CheckpointError(
            f"{config.where} says hidden_act = {name!r}; deploykit builds EfficientNets with "
            f"{', '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[name]


def _integers(config: Settings, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    values = config.get(name, default)
    if not isinstance(values, list | tuple) or not all(type(value) is int and value >= 0 for value in values):
        raise CheckpointError(f"{config.where} says {name} = {values!r}; wanted a list of numbers.")
    return tuple(values)


def _number(config: Settings, name: str, default: float) -> float:
    value = config.get(name, default)
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise CheckpointError(f"{config.where} says {name} = {value!r}; wanted a positive number.")
    return float(value) if name != "depth_divisor" else int(value)


def _size(config: Settings) -> Size | None:
    value = config.get("image_size")
    sides = sides_of(value, channels=False)
    if sides is None and value is not None:
        raise CheckpointError(f"{config.where} says image_size = {value!r}; wanted a number of pixels.")
    return sides


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def _guess(side: int) -> str:
    return (
        f"The padding is that of the published model, which was made for images of {side} pixels "
        "(depthwise_padding); swish, BatchNorm eps 1e-3 and strides are its too: the weights do not show it. "
        "--config takes a config.json."
    )
