"""TensorFlow's SAME padding, correct at every size, even after export."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["SameConv2d"]


class SameConv2d(nn.Conv2d):
    """A convolution whose output has ``ceil(size / stride)`` pixels.

    The padding depends on the size of the input and is larger at the bottom and right. In ONNX it is one
    Conv with ``auto_pad=SAME_UPPER``, which every engine computes from the actual size; paddings written as
    numbers would only be right at the traced size.

    Args:
        padded_for: (height, width) of the input whose padding is used at every size, as in networks that
            are built for one size; None to use the actual input's. All others: see ``nn.Conv2d``.
        pads: Zeros (before, after) the pixels of both axes at every size, for networks that store these
            numbers; None for SAME padding.
    """

    def __init__(
        self,
        *args: Any,
        padded_for: tuple[int, int] | None = None,
        pads: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.padded_for = padded_for
        self.pads = pads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_exporting():
            return self._captured(x)
        if torch.onnx.is_in_onnx_export():
            return cast("torch.Tensor", _SameConv.apply(x, self.weight, self.bias, self))
        return self.padded(x)

    def _captured(self, x: torch.Tensor) -> torch.Tensor:
        """The node in the form that torch.export captures."""
        padding: dict[str, Any] = {"auto_pad": "SAME_UPPER"}
        size = [-(-n // stride) for n, stride in zip(x.shape[2:], self.stride, strict=True)]
        fixed = self._fixed()
        if fixed is not None:
            (top, bottom), (left, right) = fixed
            padding = {"pads": [top, left, bottom, right]}
            covered = [self.dilation[axis] * (self.kernel_size[axis] - 1) + 1 for axis in (0, 1)]
            size = [
                (x.shape[2] + top + bottom - covered[0]) // self.stride[0] + 1,
                (x.shape[3] + left + right - covered[1]) // self.stride[1] + 1,
            ]
        inputs = [x, self.weight] if self.bias is None else [x, self.weight, self.bias]
        return torch.onnx.ops.symbolic(
            "Conv",
            inputs,
            attrs={
                **padding,
                "dilations": list(self.dilation),
                "group": self.groups,
                "kernel_shape": list(self.kernel_size),
                "strides": list(self.stride),
            },
            dtype=x.dtype,
            shape=[x.shape[0], self.out_channels, *size],
        )

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """The same with explicit padding."""
        (top, bottom), (left, right) = self._fixed() or self.paddings((x.shape[2], x.shape[3]))
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _fixed(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """((top, bottom), (left, right)) at every size; None if they depend on the size."""
        if self.pads is not None:
            return self.pads, self.pads
        return None if self.padded_for is None else self.paddings(self.padded_for)

    def paddings(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right)) for an input of (height, width)."""
        vertical, horizontal = (
            _padding(size[axis], self.kernel_size[axis], self.stride[axis], self.dilation[axis])
            for axis in (0, 1)
        )
        return vertical, horizontal


def _padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    covered = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
    total = max(covered - size, 0)
    return total // 2, total - total // 2


class _SameConv(torch.autograd.Function):
    """A padded convolution that exports as one node."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor, *parameters: Any) -> torch.Tensor:
        # The weights are arguments too, so that the traced node has them as inputs.
        conv: SameConv2d = parameters[-1]
        return conv.padded(x)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, conv: SameConv2d) -> Any:
        inputs = [x, weight] if conv.bias is None else [x, weight, bias]
        padding: dict[str, Any] = {"auto_pad_s": "SAME_UPPER"}
        fixed = conv._fixed()
        if fixed is not None:
            (top, bottom), (left, right) = fixed
            padding = {"pads_i": [top, left, bottom, right]}
        return g.op(
            "Conv",
            *inputs,
            **padding,
            dilations_i=list(conv.dilation),
            group_i=conv.groups,
            kernel_shape_i=list(conv.kernel_size),
            strides_i=list(conv.stride),
        )
