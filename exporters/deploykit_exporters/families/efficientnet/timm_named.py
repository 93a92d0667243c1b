"""timm's own EfficientNet of a given name: what its weights do not show, and a comparison with what is
built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require
from torch import nn

from deploykit_exporters.families.efficientnet.network import ACTIVATIONS, Activation, Inverted, Padding
from deploykit_exporters.families.shared.same_padding import SameConv2d
from deploykit_exporters.families.shared.timm_library.template import (
    activation_of,
    build_template,
    modules_of,
    parameters_of,
)

__all__ = ["check_layers", "compare", "constructor", "find_template", "unseen"]

# What the generators of timm's EfficientNets take beside the arguments of the class.
_GENERATOR = (
    *("channel_multiplier", "depth_multiplier", "channel_divisor", "group_size", "bn_eps"),
    *("pretrained_cfg", "pretrained_cfg_overlay"),
)
_CONVOLUTION = ("kernel_size", "stride", "dilation", "groups", "in_channels", "out_channels")
_AVERAGE = {"avg", "fast", "fastavg"}
# Layers that hold no numbers of their own, or that are compared through what they hold.
_PARTS = {
    *("EfficientNet", "Sequential", "InvertedResidual", "DepthwiseSeparableConv", "EdgeResidual"),
    *("ConvBnAct", "SqueezeExcite", "Conv2d", "Conv2dSame", "BatchNormAct2d", "Linear", "Identity"),
    *("GroupNormAct", "CondConvResidual", "CondConv2d"),
    *("SelectAdaptivePool2d", "AdaptiveAvgPool2d", "FastAdaptiveAvgPool", "Flatten", "Sigmoid", "DropPath"),
}


def constructor() -> tuple[str, ...]:
    """The arguments of timm's EfficientNets."""
    kind = require("timm.models.efficientnet", extra="export").EfficientNet
    return parameters_of(kind, *_GENERATOR)


def find_template(name: str, arguments: Mapping[str, Any], *, where: str) -> Any:
    """timm's model of a name, which must be an EfficientNet.

    Args:
        name: Name of an architecture that timm has.
        arguments: Arguments of its constructor.
        where: Where the arguments are from, for errors.

    Raises:
        CheckpointError: it is another network, or one with layers that deploykit does not build.
    """
    model = build_template(name, arguments, where=where)
    check_layers(model, name)
    return model


def check_layers(model: Any, name: str) -> None:
    """Refuse a model with layers that deploykit does not build.

    Args:
        model: timm's model, or the stand-in of a pickled one.
        name: Its name in an error.

    Raises:
        CheckpointError: names the first such layer.
    """
    for path, module in modules_of(model).items():
        kind = type(module).__name__
        if path.partition(".")[0] == "classifier":  # built separately: it may be a custom one
            continue
        if kind not in _PARTS and not path.rpartition(".")[2].startswith("act"):
            raise CheckpointError(
                f"timm's {name} has {f'{path} of the kind ' if path else 'the class '}{kind}, which "
                "deploykit does not read.",
                hint="If the weights are of another architecture, name it: --variant efficientnet_b0",
            )


def unseen(template: Any) -> tuple[Padding, float, Activation, int]:
    """What the weights do not show: padding, eps of the norms, activation, and GroupNorm's group size.

    Raises:
        CheckpointError: an activation that deploykit does not build.
    """
    same = any(
        type(module).__name__ == "Conv2dSame" or getattr(module, "dynamic_padding", False)
        for module in modules_of(template).values()
    )
    found = activation_of(_first_act(template))
    if found not in ACTIVATIONS:
        raise CheckpointError(
            f"The model has the activation {found}; deploykit builds EfficientNets with "
            f"{', '.join(ACTIVATIONS)}."
        )
    norm = template.bn1
    group = norm.num_channels // norm.num_groups if type(norm).__name__ == "GroupNormAct" else 0
    return ("same" if same else "symmetric"), float(norm.eps), found, group


def _first_act(template: Any) -> Any:
    """The activation after the stem, which older releases of timm kept separate from the norm."""
    return getattr(template.bn1, "act", None) or template.act1


def compare(template: Any, net: nn.Module) -> tuple[str, ...]:
    """How a network differs from timm's model in ways that can change an answer.

    Args:
        template: timm's model.
        net: ``nets.efficientnet.EfficientNet``, whose layers have the same names.

    Returns:
        Parts of sentences: ``bn1.eps is 0.001 there, 1e-05 here``.
    """
    ours = modules_of(net)
    activation = activation_of(_first_act(template))
    found: list[str] = []
    for path, module in modules_of(template).items():
        our = ours.get(path)
        kind = type(module).__name__
        told: Iterator[tuple[str, Any, Any]]
        if our is None:
            continue  # Of the classifier or without weights: those that matter are read with their owner.
        if kind in {"Conv2d", "Conv2dSame"}:
            told = _convolutions(module, our)
        elif kind == "CondConv2d" and isinstance(our, nn.Conv2d):
            told = _experts(module, our)
        elif kind in {"BatchNormAct2d", "GroupNormAct"}:
            told = _norms(module, our, activation, acts=_acts(path, ours))
        elif kind == "SqueezeExcite":
            told = iter(
                [
                    ("act1", activation_of(module.act1), activation),
                    ("gate", type(module.gate).__name__, "Sigmoid"),
                ]
            )
        elif hasattr(module, "has_skip"):
            told = iter([("has_skip", module.has_skip, our.residual)])
        else:
            continue
        found.extend(
            f"{path}.{name} is {there} there, {here} here" for name, there, here in told if there != here
        )
    pool = getattr(template.global_pool, "pool_type", "avg")
    if pool not in _AVERAGE and "classifier" in ours:
        found.append(f"global_pool is {pool} there, avg here")
    return tuple(found)


def _convolutions(theirs: Any, our: Any) -> Iterator[tuple[str, Any, Any]]:
    for name in _CONVOLUTION:
        yield name, getattr(theirs, name), getattr(our, name)
    same, built = type(theirs).__name__ == "Conv2dSame", isinstance(our, SameConv2d)
    yield "padding", "SAME" if same else theirs.padding, "SAME" if built else our.padding


def _experts(theirs: Any, our: Any) -> Iterator[tuple[str, Any, Any]]:
    """Differences of a depthwise convolution that applies the kernels of all experts."""
    for name in ("kernel_size", "stride", "dilation", "groups", "in_channels"):
        yield name, getattr(theirs, name), getattr(our, name)
    built = isinstance(our, SameConv2d)
    yield "padding", "SAME" if theirs.dynamic_padding else theirs.padding, "SAME" if built else our.padding


def _norms(theirs: Any, our: Any, activation: str, *, acts: bool) -> Iterator[tuple[str, Any, Any]]:
    yield "eps", theirs.eps, our.eps
    yield "num_groups", getattr(theirs, "num_groups", None), getattr(our, "num_groups", None)
    plain = type(theirs.act).__name__ == "Identity"
    yield "act", None if plain else activation_of(theirs.act), activation if acts else None


def _acts(path: str, ours: Mapping[str, Any]) -> bool:
    """Whether the activation follows this norm in ``nets.efficientnet``."""
    owner, _, name = path.rpartition(".")
    return name == "bn1" or (name == "bn2" and (not owner or isinstance(ours[owner], Inverted)))
