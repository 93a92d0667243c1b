"""The distances of a YOLO head, computed from their distributions in the form that engines run fastest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ExpectedDistances"]


class ExpectedDistances(nn.Module):
    """The mean of each box side's distribution (DFL, Generalized Focal Loss, arXiv:2006.04388).

    Heads compute it as a softmax over the bins and a convolution with their values. A quotient of two sums
    gives the same numbers without a softmax across a middle axis, for which ONNX Runtime transposes the
    whole tensor twice: a tenth of YOLO11n's time on a CPU.

    Args:
        values: Values of the bins, float32 of any shape with R elements.
    """

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.detach().reshape(-1, 1), requires_grad=False)

    def forward(self, distributions: Tensor) -> Tensor:
        """Logits [N, 4 R, A] to distances [N, 4, A], in units of the bins."""
        batch, _, anchors = distributions.shape
        logits = distributions.view(batch, 4, len(self.values), anchors)
        powers = torch.exp(logits - logits.amax(2, keepdim=True))
        return (powers * self.values).sum(2) / powers.sum(2)
