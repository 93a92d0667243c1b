"""The backbones and necks of YOLOX: CSPDarknet with a path aggregation network, and the Darknet-53
with a feature pyramid of its YOLOv3 baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deploykit_exporters.families.yolo.yolox.blocks import CSPLayer, Focus, ResLayer, SPPBottleneck, Style

__all__ = ["DarknetFPN", "DarknetPAFPN"]

Maps = tuple[Tensor, Tensor, Tensor]


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class CSPDarknet(nn.Module):
    """Images -> feature maps of stride 8, 16, 32 with 4, 8 and 16 times ``base`` channels."""

    def __init__(self, base: int, depth: int, style: Style) -> None:
        super().__init__()

        def stage(inputs: int, depth: int) -> tuple[nn.Module, nn.Module]:
            outputs = 2 * inputs
            return style.wide(inputs, outputs, 2), CSPLayer(outputs, outputs, depth, style, shortcut=True)

        top = 16 * base
        self.stem: nn.Module = Focus(style.plain(12, base, 3))
        self.dark2 = nn.Sequential(*stage(base, depth))
        self.dark3 = nn.Sequential(*stage(2 * base, 3 * depth))
        self.dark4 = nn.Sequential(*stage(4 * base, 3 * depth))
        self.dark5 = nn.Sequential(
            style.wide(8 * base, top, 2),
            SPPBottleneck(top, top, style),
            CSPLayer(top, top, depth, style, shortcut=False),
        )

    def forward(self, images: Tensor) -> Maps:
        p3 = self.dark3(self.dark2(self.stem(images)))
        p4 = self.dark4(p3)
        return p3, p4, self.dark5(p4)


class DarknetPAFPN(nn.Module):
    """CSPDarknet, then top-down and bottom-up paths.

    Args:
        base: Channels of the stem, 64 times the width of the experiment.
        depth: Bottlenecks of the backbone's first stage, 3 times the depth of the experiment.
        neck_depth: Bottlenecks of each block of the neck.
    """

    def __init__(self, base: int, depth: int, neck_depth: int, style: Style) -> None:
        super().__init__()
        p3, p4, p5 = 4 * base, 8 * base, 16 * base

        def merge(inputs: int, outputs: int) -> CSPLayer:
            return CSPLayer(inputs, outputs, neck_depth, style, shortcut=False)

        self.backbone = CSPDarknet(base, depth, style)
        self.lateral_conv0 = style.plain(p5, p4)
        self.C3_p4 = merge(2 * p4, p4)
        self.reduce_conv1 = style.plain(p4, p3)
        self.C3_p3 = merge(2 * p3, p3)
        self.bu_conv2 = style.wide(p3, p3, 2)
        self.C3_n3 = merge(2 * p3, p4)
        self.bu_conv1 = style.wide(p4, p4, 2)
        self.C3_n4 = merge(2 * p4, p5)

    def forward(self, images: Tensor) -> Maps:
        """Images [N, 3, H, W] -> maps of stride 8, 16, 32."""
        p3, p4, p5 = self.backbone(images)
        lateral5 = self.lateral_conv0(p5)
        lateral4 = self.reduce_conv1(self.C3_p4(torch.cat((_twice(lateral5), p4), dim=1)))
        n3 = self.C3_p3(torch.cat((_twice(lateral4), p3), dim=1))
        n4 = self.C3_n3(torch.cat((self.bu_conv2(n3), lateral4), dim=1))
        n5 = self.C3_n4(torch.cat((self.bu_conv1(n4), lateral5), dim=1))
        return n3, n4, n5


class Darknet(nn.Module):
    """Darknet-53 with a pyramid pooling block: maps of stride 8, 16, 32 with 256, 512, 512 channels."""

    def __init__(self, style: Style) -> None:
        super().__init__()

        def stage(inputs: int, depth: int) -> list[nn.Module]:
            outputs = 2 * inputs
            return [style.plain(inputs, outputs, 3, 2), *(ResLayer(outputs, style) for _ in range(depth))]

        pooled = nn.Sequential(
            style.plain(1024, 512),
            style.plain(512, 1024, 3),
            SPPBottleneck(1024, 512, style),
            style.plain(512, 1024, 3),
            style.plain(1024, 512),
        )
        self.stem = nn.Sequential(style.plain(3, 32, 3), *stage(32, 1))
        self.dark2 = nn.Sequential(*stage(64, 2))
        self.dark3 = nn.Sequential(*stage(128, 8))
        self.dark4 = nn.Sequential(*stage(256, 8))
        self.dark5 = nn.Sequential(*stage(512, 4), *pooled)

    def forward(self, images: Tensor) -> Maps:
        p3 = self.dark3(self.dark2(self.stem(images)))
        p4 = self.dark4(p3)
        return p3, p4, self.dark5(p4)


class DarknetFPN(nn.Module):
    """Darknet-53, then a top-down path: 128, 256 and 512 channels (the experiment ``yolov3``)."""

    def __init__(self, style: Style) -> None:
        super().__init__()

        def embedding(inputs: int, narrow: int) -> nn.Sequential:
            wide = 2 * narrow
            return nn.Sequential(
                style.plain(inputs, narrow),
                style.plain(narrow, wide, 3),
                style.plain(wide, narrow),
                style.plain(narrow, wide, 3),
                style.plain(wide, narrow),
            )

        self.backbone = Darknet(style)
        self.out1_cbl = style.plain(512, 256)
        self.out1 = embedding(512 + 256, 256)
        self.out2_cbl = style.plain(256, 128)
        self.out2 = embedding(256 + 128, 128)

    def forward(self, images: Tensor) -> Maps:
        """Images [N, 3, H, W] -> maps of stride 8, 16, 32."""
        p3, p4, p5 = self.backbone(images)
        n4 = self.out1(torch.cat((_twice(self.out1_cbl(p5)), p4), dim=1))
        n3 = self.out2(torch.cat((_twice(self.out2_cbl(n4)), p3), dim=1))
        return n3, n4, p5
