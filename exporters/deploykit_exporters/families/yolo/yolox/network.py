"""YOLOX: an anchor-free detector with a decoupled head (https://arxiv.org/abs/2107.08430).

Source: https://github.com/Megvii-BaseDetection/YOLOX (Apache-2.0), release 0.3.0.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from deploykit_exporters.families.yolo.grid import cells
from deploykit_exporters.families.yolo.yolox.backbones import DarknetFPN, DarknetPAFPN
from deploykit_exporters.families.yolo.yolox.blocks import Focus, Style

__all__ = ["YOLOX", "YOLOXHead"]

M = TypeVar("M", bound=nn.Module)

STRIDES = (8, 16, 32)


class YOLOXHead(nn.Module):
    """Two branches per map: classes, and box with objectness.

    Args:
        channels: Channels of the maps of stride 8, 16 and 32.
        hidden: Channels of the branches.
        num_classes: Number of classes.
    """

    def __init__(self, channels: Sequence[int], hidden: int, num_classes: int, style: Style) -> None:
        super().__init__()
        self.num_classes = num_classes

        def branch() -> nn.Sequential:
            return nn.Sequential(style.wide(hidden, hidden), style.wide(hidden, hidden))

        self.stems = nn.ModuleList(style.plain(inputs, hidden) for inputs in channels)
        self.cls_convs = nn.ModuleList(branch() for _ in channels)
        self.reg_convs = nn.ModuleList(branch() for _ in channels)
        self.cls_preds = nn.ModuleList(nn.Conv2d(hidden, num_classes, 1) for _ in channels)
        self.reg_preds = nn.ModuleList(nn.Conv2d(hidden, 4, 1) for _ in channels)
        self.obj_preds = nn.ModuleList(nn.Conv2d(hidden, 1, 1) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of stride 8, 16, 32 -> [N, A, 5 + classes]: x, y, width and height in input pixels,
        objectness and class scores after the sigmoid."""
        channels = 5 + self.num_classes
        levels = [self._level(i, x).reshape(x.shape[0], channels, -1) for i, x in enumerate(maps)]
        raw = torch.cat(levels, dim=2).transpose(1, 2)
        xy, wh, scores = torch.split(raw, [2, 2, channels - 4], dim=2)
        grids = [cells(x) for x in maps]
        grid = torch.cat(grids)
        stride = torch.cat(
            [0 * g + s for g, s in zip(grids, STRIDES, strict=True)],
        )
        return torch.cat(((xy + grid) * stride, wh.exp() * stride, scores.sigmoid()), dim=2)

    def _level(self, i: int, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, 5 + classes, H, W] without activations."""
        x = self.stems[i](x)
        box = self.reg_convs[i](x)
        classes = self.cls_preds[i](self.cls_convs[i](x))
        return torch.cat((self.reg_preds[i](box), self.obj_preds[i](box), classes), dim=1)


class YOLOX(nn.Module):
    """Backbone with neck, and head."""

    def __init__(self, backbone: DarknetPAFPN | DarknetFPN, head: YOLOXHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W], BGR in 0..255, sides multiples of 32 -> [N, A, 5 + classes]."""
        out: Tensor = self.head(self.backbone(images))
        return out

    def folded(self) -> YOLOX:
        """The same network over the same weights, a Focus stem folded into one convolution."""
        darknet = self.backbone.backbone
        if not isinstance(darknet.stem, Focus):
            return self
        darknet = _replaced(darknet, "stem", darknet.stem.folded())
        return _replaced(self, "backbone", _replaced(self.backbone, "backbone", darknet)).eval()


def _replaced(module: M, name: str, child: nn.Module) -> M:
    """The module with the same weights and another sub-module; the given one is not changed."""
    clone = copy.copy(module)
    clone._modules = {**module._modules, name: child}
    return clone
