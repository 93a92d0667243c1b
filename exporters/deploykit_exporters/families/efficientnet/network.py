"""EfficientNet, EfficientNetV2, -Lite and -EdgeTPU, built from the shapes of their weights.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019) and
"EfficientNetV2: Smaller Models and Faster Training" (ICML 2021). Parameter names are timm's, into which
every dialect is translated.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import nn

from deploykit_exporters.families.shared.same_padding import SameConv2d

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "BlockKind",
    "BlockPlan",
    "EfficientNet",
    "EfficientNetPlan",
    "Inverted",
    "Padding",
]

Activation = Literal["silu", "relu6", "relu", "gelu", "hard_swish", "leaky_relu", "mish"]
Padding = Literal["same", "symmetric"]
BlockKind = Literal["inverted", "separable", "edge", "plain", "conditional"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "silu": nn.SiLU,
    "relu6": nn.ReLU6,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "hard_swish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
}


@dataclass(frozen=True, kw_only=True)
class BlockPlan:
    """One block: ``inverted`` (MBConv), ``separable`` (MBConv without expansion), ``edge``
    (Fused-MBConv), ``plain`` (one convolution) or ``conditional`` (MBConv whose kernels depend on the image).

    Attributes:
        inputs, middle, outputs: Channels before, inside and after the block.
        reduced: Channels inside squeeze-and-excitation; 0 for none.
        kernel, stride: Kernel and stride of the spatial convolution.
        residual: The input is added to the output.
        pads: Zeros (before, after) the pixels of both axes, padded for the spatial convolution at every
            size; None: as ``EfficientNetPlan.padding`` says.
        group: Channels that a depthwise convolution groups.
        experts: Kernels that a conditional block mixes.
    """

    kind: BlockKind
    inputs: int
    middle: int
    outputs: int
    reduced: int
    kernel: int
    stride: int
    residual: bool
    pads: tuple[int, int] | None = None
    group: int = 1
    experts: int = 0


@dataclass(frozen=True, kw_only=True)
class EfficientNetPlan:
    """The structure to build.

    Attributes:
        stages: The blocks of each stage.
        stem: Channels of the stem.
        head: Channels of the last convolution.
        classes: Size of the classifier; 0 for none.
        padding: ``same`` as TensorFlow pads (more at the bottom and right, depending on the size), or
            ``symmetric``.
        eps: The eps of every norm.
        norm_group: Channels in a group of GroupNorm; 0 for BatchNorm.
        padded_for: With the padding ``same``: (height, width) of the images whose padding is taken at every
            size; None to use that of the current image size.
        stem_pads: As ``BlockPlan.pads``, for the stem.
    """

    stages: tuple[tuple[BlockPlan, ...], ...]
    stem: int
    head: int
    classes: int
    padding: Padding
    activation: Activation
    eps: float
    channels: int = 3
    padded_for: tuple[int, int] | None = None
    stem_pads: tuple[int, int] | None = None
    norm_group: int = 0

    def behind(self, stride: int) -> EfficientNetPlan:
        """The plan after a convolution with this stride."""
        if self.padded_for is None or stride == 1:
            return self
        height, width = self.padded_for
        return replace(self, padded_for=(-(-height // stride), -(-width // stride)))


class EfficientNet(nn.Module):
    """Images float32 [N, C, H, W] -> logits [N, classes], or the last map of each resolution.

    With ``features`` the forward returns the maps at strides 2, 4, 8, 16 and 32, finest first.
    """

    def __init__(self, plan: EfficientNetPlan, *, features: bool = False) -> None:
        super().__init__()
        self.plan = plan
        self.features = features
        self.conv_stem = _conv(plan, (plan.channels, plan.stem), 3, 2, pads=plan.stem_pads)
        self.bn1 = _norm(plan, plan.stem)
        self.blocks = _stages(plan)
        if not features:
            self.conv_head = nn.Conv2d(plan.stages[-1][-1].outputs, plan.head, 1, bias=False)
            self.bn2 = _norm(plan, plan.head)
            self.classifier = nn.Linear(plan.head, plan.classes)
        self.act = ACTIVATIONS[plan.activation]()

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        x = self.act(self.bn1(self.conv_stem(images)))
        if self.features:
            return self._maps(x)
        x = self.act(self.bn2(self.conv_head(self.blocks(x))))
        logits: torch.Tensor = self.classifier(_pooled(x).flatten(1))
        return logits

    def _maps(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = []
        for stage, blocks in zip(self.plan.stages, self.blocks, strict=True):
            if stage[0].stride == 2:
                maps.append(x)
            x = blocks(x)
        return (*maps, x)


def _stages(plan: EfficientNetPlan) -> nn.Sequential:
    at = plan.behind(2)
    stages = []
    for blocks in plan.stages:
        layers = []
        for block in blocks:
            layers.append(_block(at, block))
            at = at.behind(block.stride)
        stages.append(nn.Sequential(*layers))
    return nn.Sequential(*stages)


def _pooled(x: torch.Tensor) -> torch.Tensor:
    """The mean of each map, [N, C, 1, 1].

    Exported as ReduceMean, which ``passes/pool_columns_first.py`` rewrites: ONNX Runtime's GlobalAveragePool
    adds one value after the other, and is 5 to 15 times further from the exact mean of a map of 16x24 to
    112x112.
    """
    return x.mean((2, 3), keepdim=True)


class SqueezeExcite(nn.Module):
    """Channel attention from the pooled map (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, reduced: int, activation: Activation) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.act1 = ACTIVATIONS[activation]()
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate: torch.Tensor = self.conv_expand(self.act1(self.conv_reduce(_pooled(x))))
        return x * gate.sigmoid()


class _Block(nn.Module):
    """The base of all kinds of block: the residual connection and the activation."""

    def __init__(self, plan: EfficientNetPlan, block: BlockPlan) -> None:
        super().__init__()
        self.residual = block.residual
        self.act = ACTIVATIONS[plan.activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.transform(x)
        return x + y if self.residual else y

    @abstractmethod
    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """The block without its residual connection."""


class Inverted(_Block):
    """Expand, depthwise convolution, squeeze-and-excitation, project."""

    def __init__(self, plan: EfficientNetPlan, block: BlockPlan) -> None:
        super().__init__(plan, block)
        self.conv_pw = nn.Conv2d(block.inputs, block.middle, 1, bias=False)
        self.bn1 = _norm(plan, block.middle)
        self.conv_dw = _depthwise(plan, block, block.middle)
        self.bn2 = _norm(plan, block.middle)
        self.se = _excite(plan, block)
        self.conv_pwl = nn.Conv2d(block.middle, block.outputs, 1, bias=False)
        self.bn3 = _norm(plan, block.outputs)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn1(self.conv_pw(x)))
        x = self.se(self.act(self.bn2(self.conv_dw(x))))
        return cast("torch.Tensor", self.bn3(self.conv_pwl(x)))


class ConditionalPointwise(nn.Module):
    """A convolution of 1x1 whose weights are mixed for each image (CondConv, Yang et al., NeurIPS 2019)."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.channels = (outputs, inputs)
        self.weight = nn.Parameter(torch.empty(experts, outputs * inputs))

    def forward(self, x: torch.Tensor, routing: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] and [N, experts] to [N, outputs, H, W]."""
        weight = (routing @ self.weight).reshape(-1, *self.channels)
        mixed = weight @ x.flatten(2)
        return mixed.reshape(-1, self.channels[0], x.shape[2], x.shape[3])


class Conditional(Inverted):
    """An inverted block that mixes the kernels of several experts by the pooled input.

    The depthwise kernels of all experts are applied and their maps are mixed, which is equivalent and works
    with any batch. ``conv_dw`` has for each channel one kernel of each expert.
    """

    def __init__(self, plan: EfficientNetPlan, block: BlockPlan) -> None:
        super().__init__(plan, block)
        experts = block.experts
        self.routing_fn = nn.Linear(block.inputs, experts)
        self.conv_pw = ConditionalPointwise(experts, block.inputs, block.middle)  # type: ignore[assignment]
        self.conv_dw = _spatial(plan, block, (block.middle, block.middle * experts), block.middle)
        self.conv_pwl = ConditionalPointwise(experts, block.middle, block.outputs)  # type: ignore[assignment]
        self.shape = (block.middle, experts)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        routing = self.routing_fn(_pooled(x).flatten(1)).sigmoid()
        x = self.conv_dw(self.act(self.bn1(self.conv_pw(x, routing))))
        x = x.reshape(-1, *self.shape, x.shape[2], x.shape[3])
        x = (x * routing[:, None, :, None, None]).sum(2)
        x = self.conv_pwl(self.se(self.act(self.bn2(x))), routing)
        return cast("torch.Tensor", self.bn3(x))


class Separable(_Block):
    """Depthwise convolution, squeeze-and-excitation, project."""

    def __init__(self, plan: EfficientNetPlan, block: BlockPlan) -> None:
        super().__init__(plan, block)
        self.conv_dw = _depthwise(plan, block, block.inputs)
        self.bn1 = _norm(plan, block.inputs)
        self.se = _excite(plan, block)
        self.conv_pw = nn.Conv2d(block.inputs, block.outputs, 1, bias=False)
        self.bn2 = _norm(plan, block.outputs)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        x = self.se(self.act(self.bn1(self.conv_dw(x))))
        return cast("torch.Tensor", self.bn2(self.conv_pw(x)))


class Edge(_Block):
    """One full convolution that expands, squeeze-and-excitation, project."""

    def __init__(self, plan: EfficientNetPlan, block: BlockPlan) -> None:
        super().__init__(plan, block)
        self.conv_exp = _spatial(plan, block, (block.inputs, block.middle))
        self.bn1 = _norm(plan, block.middle)
        self.se = _excite(plan, block)
        self.conv_pwl = nn.Conv2d(block.middle, block.outputs, 1, bias=False)
        self.bn2 = _norm(plan, block.outputs)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        x = self.se(self.act(self.bn1(self.conv_exp(x))))
        return cast("torch.Tensor", self.bn2(self.conv_pwl(x)))


class Plain(_Block):
    """One convolution, normalised and activated."""

    def __init__(self, plan: EfficientNetPlan, block: BlockPlan) -> None:
        super().__init__(plan, block)
        self.conv = _spatial(plan, block, (block.inputs, block.outputs))
        self.bn1 = _norm(plan, block.outputs)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.act(self.bn1(self.conv(x))))


_BLOCKS: dict[BlockKind, type[_Block]] = {
    "inverted": Inverted,
    "separable": Separable,
    "edge": Edge,
    "plain": Plain,
    "conditional": Conditional,
}


def _block(plan: EfficientNetPlan, block: BlockPlan) -> nn.Module:
    return _BLOCKS[block.kind](plan, block)


def _excite(plan: EfficientNetPlan, block: BlockPlan) -> nn.Module:
    if not block.reduced:
        return nn.Identity()
    channels = block.inputs if block.kind == "separable" else block.middle
    return SqueezeExcite(channels, block.reduced, plan.activation)


def _norm(plan: EfficientNetPlan, channels: int) -> nn.Module:
    if plan.norm_group:
        return nn.GroupNorm(channels // plan.norm_group, channels, eps=plan.eps)
    return nn.BatchNorm2d(channels, eps=plan.eps)


def _conv(
    plan: EfficientNetPlan,
    channels: tuple[int, int],
    kernel: int,
    stride: int,
    *,
    groups: int = 1,
    pads: tuple[int, int] | None = None,
) -> nn.Conv2d:
    if pads is not None or (plan.padding == "same" and stride > 1):
        return SameConv2d(
            *channels, kernel, stride=stride, groups=groups, bias=False, padded_for=plan.padded_for, pads=pads
        )
    # With stride 1 and an odd kernel TensorFlow's padding is symmetric too.
    return nn.Conv2d(*channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)


def _spatial(
    plan: EfficientNetPlan, block: BlockPlan, channels: tuple[int, int], groups: int = 1
) -> nn.Conv2d:
    return _conv(plan, channels, block.kernel, block.stride, groups=groups, pads=block.pads)


def _depthwise(plan: EfficientNetPlan, block: BlockPlan, channels: int) -> nn.Conv2d:
    return _spatial(plan, block, (channels, channels), channels // block.group)
