"""TensorFlow's SAME padding, right at every size, also after export."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["SameConv2d"]


class SameConv2d(nn.Conv2d):
    """A convolution whose output has ``ceil(size / stride)`` pixels.

    The padding depends on the size of the input and is larger at the bottom and right. In ONNX it is one
    Conv with ``auto_pad=SAME_UPPER``, which every engine computes from the size at hand; paddings
    written as numbers would be right at the traced size alone.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_exporting():
            return self._captured(x)
        if torch.onnx.is_in_onnx_export():
            return cast("torch.Tensor", _SameConv.apply(x, self.weight, self.bias, self))
        return self.padded(x)

    def _captured(self, x: torch.Tensor) -> torch.Tensor:
        """The node as torch.export takes it."""
        size = [-(-n // stride) for n, stride in zip(x.shape[2:], self.stride, strict=True)]
        inputs = [x, self.weight] if self.bias is None else [x, self.weight, self.bias]
        return torch.onnx.ops.symbolic(
            "Conv",
            inputs,
            attrs={
                "auto_pad": "SAME_UPPER",
                "dilations": list(self.dilation),
                "group": self.groups,
                "kernel_shape": list(self.kernel_size),
                "strides": list(self.stride),
            },
            dtype=x.dtype,
            shape=[x.shape[0], self.out_channels, *size],
        )

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """The same by an explicit padding."""
        top, bottom = _padding(x.shape[2], self.kernel_size[0], self.stride[0], self.dilation[0])
        left, right = _padding(x.shape[3], self.kernel_size[1], self.stride[1], self.dilation[1])
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    covered = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
    total = max(covered - size, 0)
    return total // 2, total - total // 2


class _SameConv(torch.autograd.Function):
    """Computes the padded convolution and exports as one node."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor, *parameters: Any) -> torch.Tensor:
        # The weights are arguments too, so that the traced node has them as inputs.
        conv: SameConv2d = parameters[-1]
        return conv.padded(x)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, conv: SameConv2d) -> Any:
        inputs = [x, weight] if conv.bias is None else [x, weight, bias]
        return g.op(
            "Conv",
            *inputs,
            auto_pad_s="SAME_UPPER",
            dilations_i=list(conv.dilation),
            group_i=conv.groups,
            kernel_shape_i=list(conv.kernel_size),
            strides_i=list(conv.stride),
        )
