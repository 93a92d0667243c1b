"""The building blocks of YOLOX (https://github.com/Megvii-BaseDetection/YOLOX, Apache-2.0).

Names of sub-modules are the ones of the checkpoints' keys. BatchNorm has the eps of YOLOX's
experiments, 1e-3, which no checkpoint records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deploykit_exporters.families.yolo.stem import SpatialPyramidPooling, focus, focus_convolution

__all__ = [
    "BN_EPS",
    "CSPLayer",
    "ConvBlock",
    "Focus",
    "ResLayer",
    "SPPBottleneck",
    "SeparableConvBlock",
    "Style",
]

BN_EPS = 1e-3


class ConvBlock(nn.Module):
    """Convolution without bias that keeps the size at stride 1, then batch norm and activation."""

    def __init__(self, conv: nn.Conv2d, act: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(conv.out_channels, eps=BN_EPS)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class SeparableConvBlock(nn.Module):
    """A depth-wise and a point-wise block, which ``nano`` uses in place of every 3 x 3 convolution."""

    def __init__(self, dconv: ConvBlock, pconv: ConvBlock) -> None:
        super().__init__()
        self.dconv = dconv
        self.pconv = pconv

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pconv(self.dconv(x))
        return out


@dataclass(frozen=True, kw_only=True)
class Style:
    """Settings that all blocks of one model share.

    Attributes:
        act: Makes the activation: SiLU, or the experiment's choice.
        depthwise: Whether 3 x 3 convolutions are separable.
    """

    act: Callable[[], nn.Module]
    depthwise: bool = False

    def plain(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> ConvBlock:
        """One convolution block."""
        conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        return ConvBlock(conv, self.act())

    def wide(self, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
        """A 3 x 3 block, separable if the model is."""
        if not self.depthwise:
            return self.plain(inputs, outputs, 3, stride)
        return SeparableConvBlock(self.plain(inputs, inputs, 3, stride, inputs), self.plain(inputs, outputs))


class Focus(nn.Module):
    """The stem: space to depth, then a 3 x 3 block."""

    def __init__(self, conv: ConvBlock) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(focus(x))
        return out

    def folded(self) -> ConvBlock:
        """The same stem as one convolution of stride 2, sharing batch norm and activation."""
        block = ConvBlock(focus_convolution(self.conv.conv), self.conv.act)
        block.bn = self.conv.bn
        return block


class Bottleneck(nn.Module):
    """Two convolutions, and an optional shortcut."""

    def __init__(self, channels: int, style: Style, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = style.plain(channels, channels)
        self.conv2 = style.wide(channels, channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        out: Tensor = x + y if self.shortcut else y
        return out


class CSPLayer(nn.Module):
    """Cross-stage partial block with ``depth`` bottlenecks on half of the channels."""

    def __init__(self, inputs: int, outputs: int, depth: int, style: Style, *, shortcut: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = style.plain(inputs, half)
        self.conv2 = style.plain(inputs, half)
        self.conv3 = style.plain(2 * half, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, style, shortcut=shortcut) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), dim=1))
        return out


class SPPBottleneck(nn.Module):
    """Spatial pyramid pooling between two convolutions."""

    def __init__(self, inputs: int, outputs: int, style: Style) -> None:
        super().__init__()
        half = inputs // 2
        self.conv1 = style.plain(inputs, half)
        self.pyramid = SpatialPyramidPooling((5, 9, 13))
        self.conv2 = style.plain(4 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.pyramid(self.conv1(x)))
        return out


class ResLayer(nn.Module):
    """The residual block of Darknet-53."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.layer1 = style.plain(channels, channels // 2)
        self.layer2 = style.plain(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layer2(self.layer1(x))
        return out
