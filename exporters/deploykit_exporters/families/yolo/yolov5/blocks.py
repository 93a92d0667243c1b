"""The building blocks of YOLOv5, releases 1.0 to 7.0 (https://github.com/ultralytics/yolov5).

Every block receives its parts ready-made, under the names they have in a checkpoint: the kernel, activation
and shortcut of a part are read from the checkpoint (``families/yolo/yolov5/tree.py``), never assumed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deploykit_exporters.families.yolo.stem import SpatialPyramidPooling, focus, focus_convolution

__all__ = [
    "C3",
    "SPP",
    "SPPF",
    "Attention",
    "Bottleneck",
    "BottleneckCSP",
    "Classify",
    "Concat",
    "Conv",
    "Focus",
    "GhostBottleneck",
    "GhostConv",
    "Proto",
    "TransformerBlock",
    "TransformerLayer",
]


class Conv(nn.Module):
    """Convolution, batch norm (absent in a fused checkpoint), activation."""

    def __init__(self, *, conv: nn.Module, act: nn.Module, bn: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv
        self.bn = bn
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        out: Tensor = self.act(x)
        return out


class Focus(nn.Module):
    """The stem of releases up to 5.0: space to depth, then a convolution."""

    def __init__(self, *, conv: Conv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(focus(x))
        return out

    def folded(self) -> Conv:
        """The same stem as one convolution of stride 2, sharing batch norm and activation."""
        assert isinstance(self.conv.conv, nn.Conv2d)
        return Conv(conv=focus_convolution(self.conv.conv), bn=self.conv.bn, act=self.conv.act)


class Bottleneck(nn.Module):
    """Two convolutions, with a shortcut if ``add`` says so. CrossConv has the same form."""

    def __init__(self, *, cv1: nn.Module, cv2: nn.Module, add: bool) -> None:
        super().__init__()
        self.cv1 = cv1
        self.cv2 = cv2
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        out: Tensor = x + y if self.add else y
        return out


class C3(nn.Module):
    """Cross-stage partial block with three convolutions; ``m`` may hold bottlenecks, ghost
    bottlenecks, cross convolutions, a pyramid or a transformer."""

    def __init__(self, *, cv1: nn.Module, cv2: nn.Module, cv3: nn.Module, m: nn.Module) -> None:
        super().__init__()
        self.cv1 = cv1
        self.cv2 = cv2
        self.cv3 = cv3
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), dim=1))
        return out


class BottleneckCSP(nn.Module):
    """The cross-stage partial block of releases 1.0 to 3.1, as in the CSPNet paper."""

    def __init__(
        self,
        *,
        cv1: nn.Module,
        cv2: nn.Module,
        cv3: nn.Module,
        cv4: nn.Module,
        bn: nn.Module,
        act: nn.Module,
        m: nn.Module,
    ) -> None:
        super().__init__()
        self.cv1 = cv1
        self.cv2 = cv2
        self.cv3 = cv3
        self.cv4 = cv4
        self.bn = bn
        self.act = act
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat((self.cv3(self.m(self.cv1(x))), self.cv2(x)), dim=1)
        out: Tensor = self.cv4(self.act(self.bn(both)))
        return out


class SPP(nn.Module):
    """Spatial pyramid pooling between two convolutions."""

    def __init__(self, *, cv1: nn.Module, cv2: nn.Module, windows: tuple[int, ...]) -> None:
        super().__init__()
        self.cv1 = cv1
        self.cv2 = cv2
        self.pyramid = SpatialPyramidPooling(windows)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv2(self.pyramid(self.cv1(x)))
        return out


class SPPF(SPP):
    """Three poolings in a row with the same window: the pyramid of the windows k, 2k - 1 and 3k - 2."""

    def __init__(self, *, cv1: nn.Module, cv2: nn.Module, window: int) -> None:
        super().__init__(cv1=cv1, cv2=cv2, windows=(window, 2 * window - 1, 3 * window - 2))


class GhostConv(nn.Module):
    """Half of the channels from a convolution, the other half from a cheap one on top of it
    (GhostNet, https://arxiv.org/abs/1911.11907)."""

    def __init__(self, *, cv1: nn.Module, cv2: nn.Module) -> None:
        super().__init__()
        self.cv1 = cv1
        self.cv2 = cv2

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), dim=1)


class GhostBottleneck(nn.Module):
    """GhostNet's residual block."""

    def __init__(self, *, conv: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.shortcut(x)
        return out


class Attention(nn.Module):
    """``torch.nn.MultiheadAttention`` in eval mode without masks, in plain operators that every exporter
    supports. Query, key and value are [T, N, C].
    """

    def __init__(self, *, channels: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * channels)) if bias else None
        self.out_proj = nn.Linear(channels, channels, bias=bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        weights = self.in_proj_weight.chunk(3)
        biases: Sequence[Tensor | None]
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        q, k, v = (
            torch.unflatten(F.linear(x, weight, bias), 2, (self.heads, -1)).permute(1, 2, 0, 3)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(mixed.permute(2, 0, 1, 3).flatten(2))
        return out


class TransformerLayer(nn.Module):
    """Attention and a two-layer perceptron without norms, as in YOLOv5."""

    def __init__(
        self,
        *,
        q: nn.Module,
        k: nn.Module,
        v: nn.Module,
        ma: nn.Module,
        fc1: nn.Module,
        fc2: nn.Module,
    ) -> None:
        super().__init__()
        self.q = q
        self.k = k
        self.v = v
        self.ma = ma
        self.fc1 = fc1
        self.fc2 = fc2

    def forward(self, x: Tensor) -> Tensor:
        x = self.ma(self.q(x), self.k(x), self.v(x)) + x
        out: Tensor = self.fc2(self.fc1(x)) + x
        return out


class TransformerBlock(nn.Module):
    """A transformer over the positions of a feature map (C3TR)."""

    def __init__(self, *, linear: nn.Module, tr: nn.Module, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv
        self.linear = linear
        self.tr = tr

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is not None:
            x = self.conv(x)
        tokens = x.flatten(2).permute(2, 0, 1)
        tokens = self.tr(tokens + self.linear(tokens))
        out: Tensor = tokens.permute(1, 2, 0).reshape(x.shape)
        return out


class Concat(nn.Module):
    """Concatenates the outputs of several layers."""

    def __init__(self, *, d: int) -> None:
        super().__init__()
        self.d = d

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(maps), dim=self.d)


class Proto(nn.Module):
    """Mask prototypes from the finest feature map, at twice its resolution."""

    def __init__(self, *, cv1: nn.Module, upsample: nn.Module, cv2: nn.Module, cv3: nn.Module) -> None:
        super().__init__()
        self.cv1 = cv1
        self.upsample = upsample
        self.cv2 = cv2
        self.cv3 = cv3

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv3(self.cv2(self.upsample(self.cv1(x))))
        return out


class Classify(nn.Module):
    """The head of the classification models of release 6.2 and later: logits [N, classes]."""

    def __init__(self, *, conv: nn.Module, pool: nn.Module, linear: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.pool = pool
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.pool(self.conv(x)).flatten(1))
        return out
