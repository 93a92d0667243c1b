"""Focus stems and spatial pyramid pooling, in the forms of training and of deployment."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["SpatialPyramidPooling", "focus", "focus_convolution"]


def focus(x: Tensor) -> Tensor:
    """Space to depth, in the order of Focus in YOLOv5 and YOLOX: top left, bottom left, top right, bottom
    right. [N, C, H, W] -> [N, 4 C, H / 2, W / 2].
    """
    top, bottom = x[..., ::2, :], x[..., 1::2, :]
    corners = (top[..., ::2], bottom[..., ::2], top[..., 1::2], bottom[..., 1::2])
    return torch.cat(corners, dim=1)


def focus_convolution(conv: nn.Conv2d) -> nn.Conv2d:
    """The single convolution on the image that equals ``conv(focus(image))``.

    A k x k kernel over the four corners is a 2k x 2k kernel of stride 2 over the image. It saves eight
    strided slices and a concatenation at full resolution, and is what YOLOv5 6.0 itself replaced Focus
    with.

    Args:
        conv: A plain convolution with stride 1 that follows Focus.
    """
    out_channels, _, height, width = conv.weight.shape
    top, left = (int(side) for side in conv.padding)
    folded = nn.Conv2d(
        conv.in_channels // 4,
        out_channels,
        (2 * height, 2 * width),
        stride=2,
        padding=(2 * top, 2 * left),
        bias=conv.bias is not None,
    )
    corners = conv.weight.detach().reshape(out_channels, 2, 2, -1, height, width)
    kernel = corners.permute(0, 3, 4, 2, 5, 1)  # out, in, row, bottom?, column, right?
    with torch.no_grad():
        folded.weight.copy_(kernel.reshape(folded.weight.shape))
        if conv.bias is not None and folded.bias is not None:
            folded.bias.copy_(conv.bias)
    return folded


class SpatialPyramidPooling(nn.Module):
    """A feature map together with its maxima over growing windows (spatial pyramid pooling).

    A maximum over 9 x 9 is the 5 x 5 maximum of 5 x 5 maxima: each window is pooled from the one
    before it, which gives the same numbers for a fraction of the comparisons (the observation behind
    YOLOv5's SPPF).

    Args:
        windows: Odd window sides in growing order, (5, 9, 13) in YOLOv5 and YOLOX.
    """

    def __init__(self, windows: tuple[int, ...]) -> None:
        super().__init__()
        steps = [windows[0], *(b - a + 1 for a, b in pairwise(windows))]
        if any(step < 1 or step % 2 == 0 for step in steps):
            raise ValueError(f"pooling windows must be odd and growing, not {windows}")
        self.pools = nn.ModuleList(nn.MaxPool2d(step, stride=1, padding=step // 2) for step in steps)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C * (1 + windows), H, W]."""
        maps = [x]
        for pool in self.pools:
            maps.append(pool(maps[-1]))
        return torch.cat(maps, dim=1)
