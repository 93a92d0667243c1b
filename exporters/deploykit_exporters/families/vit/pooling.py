"""Poolings that turn the tokens of a ViT into one vector and that timm's network does not have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["AttentionalPool", "QueryPool", "build_projection", "class_tokens_and_mean"]


@dataclass(frozen=True, kw_only=True)
class QueryPool:
    """The sizes of an ``AttentionalPool``: number of queries, their width, attention heads."""

    queries: int
    width: int
    heads: int


class AttentionalPool(nn.Module):
    """Attention of learned queries to all tokens; the first one's output represents the image (CoCa's
    pooler in open_clip), the others are for captions.

    Args:
        size: See ``QueryPool``.
        context: Width of the tokens.
        eps: The eps of both LayerNorms.
    """

    def __init__(self, size: QueryPool, context: int, eps: float) -> None:
        super().__init__()
        self.heads = size.heads
        self.query = nn.Parameter(torch.zeros(size.queries, size.width))
        self.ln_q = nn.LayerNorm(size.width, eps=eps)
        self.ln_k = nn.LayerNorm(context, eps=eps)
        self.q = nn.Linear(size.width, size.width)
        self.k = nn.Linear(context, size.width)
        self.v = nn.Linear(context, size.width)
        self.proj = nn.Linear(size.width, size.width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [N, T, D] to [N, width]."""
        tokens = self.ln_k(tokens)
        width = self.query.shape[1]
        part = width // self.heads
        query = self.q(self.ln_q(self.query[:1])).reshape(1, self.heads, part, 1)
        keys = self.k(tokens).unflatten(2, (self.heads, part)).permute(0, 2, 1, 3)
        values = self.v(tokens).unflatten(2, (self.heads, part)).permute(0, 2, 3, 1)
        weights = (keys @ query * part**-0.5).softmax(dim=2)
        return self.proj((values @ weights).flatten(1))  # type: ignore[no-any-return]


def class_tokens_and_mean(net: Any, states: Sequence[torch.Tensor]) -> torch.Tensor:
    """The input of DINOv2's classifiers: the class tokens after each of the last blocks, then the mean of
    the last patches, all after the norm.

    Args:
        net: timm's network.
        states: Tokens [N, T, D] after the last ``n`` blocks.

    Returns:
        [N, (n + 1) * D].
    """
    classes = [net.norm(state[:, 0]) for state in states[:-1]]
    last = net.norm(states[-1])
    return torch.cat([*classes, last[:, 0], last[:, net.num_prefix_tokens :].mean(dim=1)], dim=1)


def build_projection(tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """The layers after the pooled vector, without weights, by their names: ``dense``, a linear layer and
    tanh (ViT of transformers); ``proj``, a linear layer (CLIP); ``mlp.fc1`` and ``mlp.fc2`` with GELU in
    between (open_clip's timm towers).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if "dense.weight" in tensors:
        layers.update(dense=_linear(tensors, "dense"), activation=nn.Tanh())
    if "proj.weight" in tensors:
        layers.update(proj=_linear(tensors, "proj"))
    if "mlp.fc1.weight" in tensors and "mlp.fc2.weight" in tensors:
        mlp = {"fc1": _linear(tensors, "mlp.fc1"), "act": nn.GELU(), "fc2": _linear(tensors, "mlp.fc2")}
        layers.update(mlp=nn.Sequential(OrderedDict(mlp)))
    return nn.Sequential(layers)


def _linear(tensors: Mapping[str, torch.Tensor], name: str) -> nn.Linear:
    out, width = tensors[f"{name}.weight"].shape
    return nn.Linear(width, out, bias=f"{name}.bias" in tensors)
