"""Position embeddings of a ViT at any grid, in torch's form and in a form that every engine supports.

Training codes resize the grid of position embeddings with ``F.interpolate(mode="bicubic")``: timm with
antialiasing, torchvision, mmpretrain and transformers without, torchvision with aligned corners. Bicubic
resampling is linear and separable, so it is also two matrix products whose weights depend on the two
grids alone. TensorRT has no antialiased Resize, but it has MatMul.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["GridPositions", "Resampling", "cubic_weights", "resample_grid"]

_REACH = 2
"""Half-width of the cubic kernel in samples."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How a training code resizes position embeddings; always bicubic, in float32.

    ``offset``: added to the new number of patches before the scale is computed from it (DINO and DINOv2:
    0.1); the trained grid itself is unchanged.
    """

    antialias: bool
    align_corners: bool = False
    offset: float = 0.0

    def __str__(self) -> str:
        details = [
            "antialiased" if self.antialias else "not antialiased",
            *(["corners aligned"] if self.align_corners else []),
            *([f"scaled to {self.offset:g} patches more"] if self.offset else []),
        ]
        return f"bicubic, {', '.join(details)}"


def resample_grid(grid: torch.Tensor, size: tuple[int, int], how: Resampling) -> torch.Tensor:
    """The reference: position embeddings [gh, gw, C] at another grid, as [1, h * w, C]."""
    if (grid.shape[0], grid.shape[1]) == tuple(size):
        return grid.flatten(0, 1).unsqueeze(0)
    scale = tuple((new + how.offset) / old for new, old in zip(size, grid.shape[:2], strict=True))
    resized = F.interpolate(
        grid.permute(2, 0, 1).unsqueeze(0),
        size=None if how.offset else size,
        scale_factor=scale if how.offset else None,
        mode="bicubic",
        align_corners=how.align_corners,
        antialias=how.antialias,
    )
    return resized.flatten(2).transpose(1, 2)


class GridPositions(nn.Module):
    """Position embeddings resampled inside the graph, to the grid of the actual input.

    At the trained grid the weights are an identity matrix and the result is exact.

    Args:
        grid: Trained position embeddings [gh, gw, C].
        how: The training code's way of resizing them.
    """

    grid: torch.Tensor

    def __init__(self, grid: torch.Tensor, how: Resampling) -> None:
        super().__init__()
        self.how = how
        self.rows, self.columns, self.channels = grid.shape
        if not how.antialias:
            # Without antialiasing, taps beyond the edge repeat the edge.
            planes = grid.permute(2, 0, 1).unsqueeze(0)
            grid = F.pad(planes, (_REACH,) * 4, mode="replicate")[0].permute(1, 2, 0)
        self.register_buffer("grid", grid.contiguous(), persistent=False)

    def forward(self, height: int, width: int) -> torch.Tensor:
        """[1, height * width, C] for a grid of ``height`` x ``width`` patches."""
        down, across = self._offsets(height, width) if self.how.offset else (0.0, 0.0)
        vertical = cubic_weights(height, self.rows, self.how, down)
        horizontal = cubic_weights(width, self.columns, self.how, across)
        stretched = vertical @ self.grid.flatten(1)
        stretched = stretched.reshape(-1, self.grid.shape[1], self.channels)
        return (horizontal @ stretched).reshape(1, -1, self.channels)

    def _offsets(self, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The offset of each axis, zero if nothing is resized: at the trained grid, and along an axis that
        already has the right size for torch's antialiased kernel.
        """
        down = (_counted(height) - self.rows).abs().clamp(max=1)
        across = (_counted(width) - self.columns).abs().clamp(max=1)
        if not self.how.antialias:
            down = across = (down + across).clamp(max=1)
        return self.how.offset * down, self.how.offset * across


def _counted(count: int) -> torch.Tensor:
    """The count as a tensor [1] that stays symbolic in both exporters."""
    return torch.arange(count, dtype=torch.float32)[-1:] + 1


def cubic_weights(
    count: int, source: int, how: Resampling, offset: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Weights [count, taps] that resample ``source`` samples to ``count``, computed only from the counts.

    Antialiased: the kernel (a = -0.5) is widened by the scale when shrinking, taps beyond the edges are
    dropped and rows add up to 1; ``taps`` is ``source``. Otherwise the kernel (a = -0.75) has its own
    width and taps beyond the edges are kept, for a source that was padded by two samples on each side:
    ``taps`` is ``source + 4``. Both as in torch's ``upsample_bicubic2d`` and ``_upsample_bicubic2d_aa``.

    Args:
        count: May be symbolic while a graph is traced.
        offset: Added to the count from which the scale is computed, see ``Resampling``.
    """
    targets = torch.arange(count, dtype=torch.float32).unsqueeze(1)
    # The count as a tensor that stays symbolic in both exporters.
    total = targets[-1:] + 1 + offset
    if how.antialias:
        scale = source / total
        taps = torch.arange(source, dtype=torch.float32)
        distance = ((taps + 0.5) - (targets + 0.5) * scale) / scale.clamp(min=1)
        weights = _cubic(distance.abs(), -0.5)
        return weights / weights.sum(1, keepdim=True)
    if how.align_corners:
        positions = targets * ((source - 1) / (total - 1).clamp(min=1))
    else:
        positions = (targets + 0.5) * (source / total) - 0.5
    taps = torch.arange(-_REACH, source + _REACH, dtype=torch.float32)
    return _cubic((taps - positions).abs(), -0.75)


def _cubic(x: torch.Tensor, a: float) -> torch.Tensor:
    """Keys' cubic convolution kernel (IEEE TASSP 29(6), 1981) at distances ``x`` >= 0.

    Each piece is zero where the other's range begins, so clamping replaces a branch.
    """
    near, far = x.clamp(max=1), x.clamp(1, 2)
    inner = ((a + 2) * near - (a + 3)) * near * near + 1
    outer = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    return inner + outer
