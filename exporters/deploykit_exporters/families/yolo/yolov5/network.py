"""YOLOv5: a list of layers wired by index, and its anchor-based heads.

Source: https://github.com/ultralytics/yolov5 (``models/yolo.py`` of releases 1.0 to 7.0).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deploykit_exporters.families.yolo.grid import cells
from deploykit_exporters.families.yolo.yolov5.blocks import Focus

__all__ = ["Detect", "Segment", "YoloV5"]


class AnchorHead(nn.Module):
    """Anchor-based detection over feature maps of several strides.

    Args:
        m: The output convolution of each map, ``anchors * (5 + classes + masks)`` channels.
        anchors: [maps, anchors, 2] width and height in units of the map's stride.
        strides: Stride of each map in pixels.
        num_classes: Number of classes.
        masks: Number of mask coefficients, 0 for a detector.
        anchor_grid: Releases up to 5.0 keep the anchors a second time, in pixels, and decode with
            those: [maps, 1, anchors, 1, 1, 2].
    """

    anchors: Tensor
    anchor_grid: Tensor | None

    def __init__(
        self,
        *,
        m: nn.Module,
        anchors: Tensor,
        strides: Sequence[float],
        num_classes: int,
        masks: int = 0,
        anchor_grid: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.m = m
        self.strides = tuple(strides)
        self.num_classes = num_classes
        self.masks = masks
        self.register_buffer("anchors", anchors.float())
        self.register_buffer("anchor_grid", None if anchor_grid is None else anchor_grid.float())

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [N, C, H, W] of growing stride -> [N, A, 5 + classes + masks]: x, y, width and height
        in input pixels, objectness and class scores after the sigmoid, mask coefficients."""
        assert isinstance(self.m, nn.ModuleList)
        maps = [conv(x) for conv, x in zip(self.m, maps, strict=True)]
        raw = torch.cat([self._rows(x) for x in maps], dim=1)
        scored = 5 + self.num_classes
        xy, wh, scores = torch.split(raw[..., :scored].sigmoid(), [2, 2, scored - 4], dim=2)
        offsets, sizes, strides = self._priors(maps)
        xy = (xy * 2 + offsets) * strides
        wh = wh * 2
        return torch.cat((xy, wh * wh * sizes, scores, raw[..., scored:]), dim=2)

    def _rows(self, x: Tensor) -> Tensor:
        """[N, anchors * K, H, W] -> [N, anchors * H * W, K]."""
        n, anchors = x.shape[0], self.anchors.shape[1]
        channels = 5 + self.num_classes + self.masks
        return x.reshape(n, anchors, channels, -1).transpose(2, 3).reshape(n, -1, channels)

    def _priors(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Cell offsets [A, 2], anchor sizes in pixels [A, 2] and strides [A, 2] of every row."""
        offsets, sizes, strides = [], [], []
        for x, stride, anchors in zip(maps, self.strides, self._pixel_anchors(), strict=True):
            grid = cells(x)
            nothing = 0 * grid  # a sum with it broadcasts, see cells()
            offsets.append((grid - 0.5).repeat(anchors.shape[0], 1))
            sizes.append((anchors[:, None] + nothing).reshape(-1, 2))
            strides.append((nothing + stride).repeat(anchors.shape[0], 1))
        return torch.cat(offsets), torch.cat(sizes), torch.cat(strides)

    def _pixel_anchors(self) -> Tensor:
        if self.anchor_grid is not None:
            return self.anchor_grid.reshape(self.anchors.shape)
        return self.anchors * self.anchors.new_tensor(self.strides)[:, None, None]


class Detect(AnchorHead):
    """The head of a detector."""

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps -> detections [N, A, 5 + classes]."""
        return self.decode(maps)


class Segment(AnchorHead):
    """Detection with mask coefficients, and the prototypes that they weight."""

    def __init__(
        self,
        *,
        m: nn.Module,
        proto: nn.Module,
        anchors: Tensor,
        strides: Sequence[float],
        num_classes: int,
        masks: int,
    ) -> None:
        super().__init__(m=m, anchors=anchors, strides=strides, num_classes=num_classes, masks=masks)
        self.proto = proto

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps -> detections [N, A, 5 + classes + masks], prototypes [N, masks, H / 4, W / 4]."""
        return self.decode(maps), self.proto(maps[0])


class YoloV5(nn.Module):
    """Layers that read the outputs of earlier ones.

    Args:
        layers: In order; the last one is the head.
        sources: For each layer the index of the layer it reads, a tuple of them if it takes a list, -1 for
            the image.
    """

    def __init__(self, layers: Sequence[nn.Module], sources: Sequence[int | tuple[int, ...]]) -> None:
        super().__init__()
        self.model = nn.ModuleList(layers)
        self.sources = tuple(sources)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Images [N, 3, H, W], RGB in 0..1, sides multiples of the largest stride -> the head's
        output."""
        outputs = {-1: images}
        for index, (layer, source) in enumerate(zip(self.model, self.sources, strict=True)):
            inputs = [outputs[i] for i in source] if isinstance(source, tuple) else outputs[source]
            outputs[index] = layer(inputs)
        return outputs[len(self.model) - 1]

    def folded(self) -> YoloV5:
        """The same network over the same weights, a Focus stem folded into one convolution."""
        layers = [layer.folded() if isinstance(layer, Focus) else layer for layer in self.model]
        return YoloV5(layers, self.sources).eval()
