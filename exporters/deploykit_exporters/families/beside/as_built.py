"""What was built, read from the network and its spec, in the terms that training code uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from deploykit_runtimes.contract.spec import ModelSpec
from torch import nn

from deploykit_exporters.families.shared.same_padding import SameConv2d
from deploykit_exporters.families.shared.setting_values import pair_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BuiltNetwork", "describe_built", "plain"]

# Classifiers, poolers, and the network of a CrossFormer's position bias.
_ELSEWHERE = {"head", "heads", "classifier", "pooler", "attn_pool", "pos"}
_HEADS = {"head", "heads", "classifier"}
_ACTIVATIONS = {
    *("gelu", "gelutanh", "quickgelu", "silu", "relu", "relu6", "leakyrelu", "mish", "hardswish", "elu"),
    *("celu", "selu", "prelu", "hardmish", "tanh", "squaredrelu"),
}
_NORMS = ("layernorm", "batchnorm", "groupnorm", "rmsnorm")
_SAME_WORDS = {
    "swish": "silu",
    "hswish": "hardswish",
    "hardswishjit": "hardswish",
    "quickgeluactivation": "quickgelu",
    "geluexact": "gelu",
    "gelunew": "gelutanh",
    "gelupytorchtanh": "gelutanh",
    "tanhgelu": "gelutanh",
    "geluapproximate": "gelutanh",
    "lrelu": "leakyrelu",
}


@dataclass(frozen=True, kw_only=True)
class BuiltNetwork:
    """What settings of any name can be compared with.

    Attributes:
        heads: Attention heads: one number, or one for each stage; empty without attention.
        head_width: Channels of an attention head; empty without attention.
        activations, norms: Their plain names in the network, without its classifier.
        eps: The eps of each kind of norm.
        pool: How the pooled vector is made, in timm's words.
        patch: (height, width) of a patch, and the stride of their convolution; None if there is none.
        padding: Padding of strided convolutions, ``same`` (TensorFlow's) or ``symmetric``; empty if there
            are none.
        learned_positions: Whether positions are added embeddings.
        rotary: Whether there are rotary positions.
        head_activations: The activations inside the classifier.
        head_eps: The eps of the norms inside the classifier.
        class_token: Whether a class token goes through the network; None if it has no tokens.
        depth: Number of attention layers.
        width: Channels of a token; 0 without tokens.
        sizes: Every output width of a linear layer, as the weights show.
        spec: The spec of the model.
    """

    heads: tuple[int, ...]
    head_width: tuple[int, ...]
    activations: tuple[str, ...]
    norms: tuple[str, ...]
    eps: dict[str, tuple[float, ...]]
    pool: str
    patch: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    padding: str
    learned_positions: bool
    rotary: bool
    head_activations: tuple[str, ...]
    head_eps: tuple[float, ...]
    class_token: bool | None
    depth: int
    width: int
    sizes: frozenset[int]
    spec: ModelSpec


def describe_built(module: nn.Module, spec: ModelSpec) -> BuiltNetwork:
    """Read the facts from a built network."""
    parts = [part for _, part in _inside(module)]
    heads, widths = _distinct(map(_heads, parts)), _distinct(map(_head_width, parts))
    eps: dict[str, tuple[float, ...]] = {}
    for part in parts:
        kind = _norm(part)
        if kind:
            eps[kind] = tuple(dict.fromkeys((*eps.get(kind, ()), float(getattr(part, "eps", 0.0) or 0.0))))
    embedding = next(
        (conv for part in parts if isinstance(conv := getattr(part, "proj", None), nn.Conv2d)), None
    )
    in_head = [part for path, part in module.named_modules() if _HEADS & set(path.split("."))]
    pools = (getattr(part, "global_pool", None) for part in parts)
    pool = next((one for one in pools if isinstance(one, str)), "")
    return BuiltNetwork(
        heads=heads,
        head_width=widths,
        activations=_distinct(map(_activation, parts)),
        norms=tuple(eps),
        eps=eps,
        pool=pool or "avg",
        patch=None if embedding is None else pair_of(embedding.kernel_size),
        stride=None if embedding is None else pair_of(embedding.stride),
        padding=_padding(parts),
        learned_positions=any(
            isinstance(getattr(part, "pos_embed", None), torch.Tensor) and getattr(part, "rope", None) is None
            for part in parts
        ),
        rotary=any(getattr(part, "rope", None) is not None for part in parts),
        head_activations=_distinct(map(_activation, in_head)),
        head_eps=_distinct(float(getattr(part, "eps", 0.0)) for part in in_head if _norm(part)),
        class_token=_class_token(parts) if embedding is not None else None,
        width=0 if embedding is None else embedding.out_channels,
        depth=sum(bool(_heads(part)) for part in parts),
        sizes=frozenset(part.out_features for part in module.modules() if isinstance(part, nn.Linear)),
        spec=spec,
    )


def _class_token(parts: list[nn.Module]) -> bool:
    return any(isinstance(getattr(part, "cls_token", None), torch.Tensor) for part in parts)


def _padding(parts: list[nn.Module]) -> str:
    strided = [part for part in parts if isinstance(part, nn.Conv2d) and part.stride != part.kernel_size]
    if not any(max(part.stride) > 1 for part in strided):
        return ""
    return "same" if any(isinstance(part, SameConv2d) for part in strided) else "symmetric"


def plain(word: str) -> str:
    """A name in plain form: ``gelu`` for ``nn.GELU``, ``GELU()`` and ``torch.nn.GELU``."""
    found = (
        word.rpartition(".")[2].partition("(")[0].lower().replace("_", "").replace("-", "").replace(" ", "")
    )
    return _SAME_WORDS.get(found, found)


def _inside(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    yield path, module
    for name, child in module.named_children():
        if name not in _ELSEWHERE:
            yield from _inside(child, f"{path}.{name}")


def _distinct(values: Any) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _heads(part: nn.Module) -> int:
    found = (getattr(part, name, None) for name in ("num_heads", "heads"))
    return next((value for value in found if isinstance(value, int)), 0)


def _head_width(part: nn.Module) -> int:
    width = getattr(part, "head_dim", None)
    if isinstance(width, int):
        return width
    rows = getattr(getattr(part, "qkv", None), "out_features", 0)
    return int(rows) // 3 // _heads(part) if rows and _heads(part) else 0


def _activation(part: nn.Module) -> str:
    name = plain(type(part).__name__)
    if name == "gelu" and getattr(part, "approximate", "none") == "tanh":
        name = "gelutanh"
    return name if name in _ACTIVATIONS else ""


def _norm(part: nn.Module) -> str:
    name = type(part).__name__.lower()
    return next((kind for kind in _NORMS if kind in name), "")
