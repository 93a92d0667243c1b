"""torch.nn modules rebuilt from their inert stand-ins.

Sizes come from the actual weights, so that a lying attribute cannot allocate memory; what no weight shows
(stride, padding, eps, slope) comes from the attributes. Attributes missing in an older torch get the value
that matches its behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from deploykit_runtimes.errors import CheckpointError
from torch import Tensor, nn
from torch.nn.utils import skip_init

from deploykit_exporters.containers.pickles.inert import class_path
from deploykit_exporters.families.yolo.yolov5.blocks import Attention

__all__ = ["LEAVES", "attribute", "integers", "tensor"]

T = TypeVar("T")


def attribute(node: Any, where: str, name: str, kind: type[T], default: T | None = None) -> T:
    """An attribute of the expected type.

    Raises:
        CheckpointError: it is absent and has no default, or is of another type.
    """
    value = getattr(node, name, default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind):
        raise CheckpointError(
            f"{where} is a {class_path(node)} whose {name} is {value!r}, wanted {kind.__name__}."
        )
    return value


def integers(node: Any, where: str, name: str, count: int, default: int | None = None) -> tuple[int, ...]:
    """An attribute that is one integer for all axes, or one per axis."""
    value = getattr(node, name, default)
    values: tuple[Any, ...] = tuple(value) if isinstance(value, list | tuple) else (value,) * count
    if len(values) != count or not all(isinstance(v, int) and 0 <= v < 2**16 for v in values):
        raise CheckpointError(
            f"{where} is a {class_path(node)} whose {name} is {value!r}, wanted {count} integers."
        )
    return values


def tensor(node: Any, where: str, name: str) -> Tensor:
    """A parameter, buffer or attribute that is a tensor."""
    return attribute(node, where, name, torch.Tensor)


def _uninitialised(make: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """A module whose weights are about to be loaded, created without spending time on random ones."""
    module: nn.Module = skip_init(make, *args, **kwargs)  # type: ignore[no-untyped-call]
    return module


def _has_bias(node: Any) -> bool:
    return isinstance(getattr(node, "bias", None), torch.Tensor)


def _weight(node: Any, where: str, ndim: int) -> torch.Size:
    shape = tensor(node, where, "weight").shape
    if len(shape) != ndim:
        raise CheckpointError(f"{where}.weight has the shape {list(shape)}, wanted {ndim} axes.")
    return shape


def _groups(node: Any, where: str, channels: int) -> int:
    groups = attribute(node, where, "groups", int, 1)
    if groups < 1 or channels % groups:
        raise CheckpointError(f"{where} splits {channels} channels into {groups} groups.")
    return groups


def _convolution(node: Any, where: str) -> nn.Module:
    if attribute(node, where, "padding_mode", str, "zeros") != "zeros":
        raise CheckpointError(f"{where} pads with {node.padding_mode!r}, wanted 'zeros'.")
    out_channels, per_group, *kernel = _weight(node, where, 4)
    groups = _groups(node, where, out_channels)
    return _uninitialised(
        nn.Conv2d,
        per_group * groups,
        out_channels,
        tuple(kernel),
        stride=integers(node, where, "stride", 2),
        padding=integers(node, where, "padding", 2),
        dilation=integers(node, where, "dilation", 2, 1),
        groups=groups,
        bias=_has_bias(node),
    )


def _transposed_convolution(node: Any, where: str) -> nn.Module:
    in_channels, per_group, *kernel = _weight(node, where, 4)
    groups = _groups(node, where, in_channels)
    return _uninitialised(
        nn.ConvTranspose2d,
        in_channels,
        per_group * groups,
        tuple(kernel),
        stride=integers(node, where, "stride", 2),
        padding=integers(node, where, "padding", 2),
        output_padding=integers(node, where, "output_padding", 2, 0),
        dilation=integers(node, where, "dilation", 2, 1),
        groups=groups,
        bias=_has_bias(node),
    )


def _batch_norm(node: Any, where: str) -> nn.Module:
    (features,) = _weight(node, where, 1)
    return nn.BatchNorm2d(features, eps=attribute(node, where, "eps", float))


def _linear(node: Any, where: str) -> nn.Module:
    outputs, inputs = _weight(node, where, 2)
    return _uninitialised(nn.Linear, inputs, outputs, bias=_has_bias(node))


def _attention(node: Any, where: str) -> nn.Module:
    rows, channels = tensor(node, where, "in_proj_weight").shape
    heads = attribute(node, where, "num_heads", int)
    if rows != 3 * channels or heads < 1 or channels % heads:
        raise CheckpointError(f"{where} has {heads} heads over a projection [{rows}, {channels}].")
    biased = isinstance(getattr(node, "in_proj_bias", None), torch.Tensor)
    return Attention(channels=channels, heads=heads, bias=biased)


def _max_pool(node: Any, where: str) -> nn.Module:
    return nn.MaxPool2d(
        integers(node, where, "kernel_size", 2),
        stride=integers(node, where, "stride", 2),
        padding=integers(node, where, "padding", 2),
        dilation=integers(node, where, "dilation", 2, 1),
        ceil_mode=attribute(node, where, "ceil_mode", bool, False),
    )


def _average_pool(node: Any, where: str) -> nn.Module:
    if integers(node, where, "output_size", 2) != (1, 1):
        raise CheckpointError(f"{where} pools to {node.output_size}, wanted 1.")
    return nn.AdaptiveAvgPool2d(1)


def _upsample(node: Any, where: str) -> nn.Module:
    mode = attribute(node, where, "mode", str)
    if mode not in ("nearest", "bilinear") or getattr(node, "size", None) is not None:
        raise CheckpointError(
            f"{where} upsamples by {mode!r} to the size {getattr(node, 'size', None)}; wanted nearest or "
            "bilinear by a factor."
        )
    corners = getattr(node, "align_corners", None) is True
    return nn.Upsample(
        scale_factor=attribute(node, where, "scale_factor", float),
        mode=mode,
        align_corners=corners if mode == "bilinear" else None,
    )


def _zero_pad(node: Any, where: str) -> nn.Module:
    left, right, top, bottom = integers(node, where, "padding", 4)
    return nn.ZeroPad2d((left, right, top, bottom))


def _leaky_relu(node: Any, where: str) -> nn.Module:
    return nn.LeakyReLU(attribute(node, where, "negative_slope", float))


def _without_options(make: Callable[[], nn.Module]) -> Callable[[Any, str], nn.Module]:
    return lambda _node, _where: make()


LEAVES: dict[str, Callable[[Any, str], nn.Module]] = {
    "Conv2d": _convolution,
    "ConvTranspose2d": _transposed_convolution,
    "DWConvTranspose2d": _transposed_convolution,
    "BatchNorm2d": _batch_norm,
    "Linear": _linear,
    "MultiheadAttention": _attention,
    "MaxPool2d": _max_pool,
    "AdaptiveAvgPool2d": _average_pool,
    "Upsample": _upsample,
    "ZeroPad2d": _zero_pad,
    "LeakyReLU": _leaky_relu,
    "SiLU": _without_options(nn.SiLU),
    "Hardswish": _without_options(nn.Hardswish),
    "ReLU": _without_options(nn.ReLU),
    "ReLU6": _without_options(nn.ReLU6),
    "Mish": _without_options(nn.Mish),
    "Sigmoid": _without_options(nn.Sigmoid),
    "Identity": _without_options(nn.Identity),
    "Dropout": _without_options(nn.Identity),
}
