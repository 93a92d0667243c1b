"""Why a network gives other answers than the recorded one: simple differences, tried one after the other.

The weights come first: what was recorded from other weights cannot be explained by settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from deploykit_runtimes.spec import ModelSpec
from torch import nn

from deploykit_exporters.dialects.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deploykit_exporters.golden.file import Golden
from deploykit_exporters.golden.weights import explain_weights
from deploykit_exporters.load import LoadedCheckpoint
from deploykit_exporters.parity import FP32_TOLERANCE
from deploykit_exporters.proof.float64 import Outputs

__all__ = ["explain_network"]

_EPS = (1e-3, 1e-5, 1e-6, 1e-12, 1e-8, 1e-2)
_MOST_HEADS = 64


class _QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "quick_gelu": _QuickGELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "mish": nn.Mish,
    "leaky_relu": nn.LeakyReLU,
}
_ACTIVATION_CLASSES = frozenset(
    ("GELU", "GELUTanh", "QuickGELU", "ReLU", "ReLU6", "SiLU", "Swish", "Hardswish", "HardSwish", "Mish")
)


def explain_network(
    golden: Golden,
    loaded: LoadedCheckpoint,
    spec: ModelSpec,
    images: np.ndarray,
    off: Callable[[Outputs], float],
    *,
    limit: float = FP32_TOLERANCE,
) -> str:
    """Which simple difference explains the golden answers, in a sentence; empty for none.

    Args:
        golden: The answers.
        loaded: The checkpoint and our reading of it.
        spec: The contract of the network.
        images: Images of which the answers differ, float32 [N, C, H, W].
        off: How far outputs for them are from the golden ones, as a share of the scale.
        limit: How far an explanation may leave them.
    """
    weights = explain_weights(golden, loaded, rounding=limit >= FP32_TOLERANCE)
    if weights:
        return weights
    module = loaded.built.module.eval()
    for said, given, change in _ideas(module, spec, images):
        with torch.no_grad(), change:
            try:
                found = module(torch.from_numpy(given))
            except RuntimeError:  # a change that the network cannot take
                continue
        tensors = (found,) if isinstance(found, torch.Tensor) else tuple(found)
        outputs = {name: one.numpy() for name, one in zip(spec.output.names, tensors, strict=True)}
        if off(outputs) <= limit:
            return f"The recorded model {said}"
    return ""


def _ideas(module: nn.Module, spec: ModelSpec, images: np.ndarray) -> Iterator[_Idea]:
    yield from _inputs(images)
    for said, config, change in _changes(module):
        advice = f" Export with --config '{json.dumps(config)}'." if spec.family == "vit" else ""
        yield f"{said}.{advice}", images, change


_Idea = tuple[str, np.ndarray, AbstractContextManager[None]]
"""What the recorded model may do, in words; the images and the change of our network that do the same."""


def _inputs(images: np.ndarray) -> Iterator[_Idea]:
    """What a recorded model may do to its input inside."""
    if images.shape[1] != 3:
        return
    yield "takes BGR where deploykit gives RGB, or RGB for BGR.", images[:, ::-1].copy(), nullcontext()
    for mean, std in ((IMAGENET_MEAN, IMAGENET_STD), ((0.5,) * 3, (0.5,) * 3)):
        middle, spread = (np.asarray(one, np.float32)[:, None, None] for one in (mean, std))
        config = json.dumps({"mean": mean, "std": std})
        said = (
            f"normalises its input itself: record the part behind that, and export with --config '{config}'."
        )
        yield said, (images - middle) / spread, nullcontext()


def _changes(module: nn.Module) -> Iterator[tuple[str, dict[str, Any], AbstractContextManager[None]]]:
    """Changes of our network, with the setting of --config for a ViT."""
    norms = [one for one in module.modules() if isinstance(getattr(one, "eps", None), float)]
    for eps in _EPS:
        if any(one.eps != eps for one in norms):
            yield f"has norms with eps {eps:g}", {"eps": eps}, _set(norms, eps=eps)
    for kind in sorted({type(one).__name__ for one in module.modules()} & _ACTIVATION_CLASSES):
        for name, make in _ACTIVATIONS.items():
            yield (
                f"has {name} where deploykit has {kind}",
                {"activation": name},
                _replaced(module, kind, make),
            )
    attention: list[Any] = [one for one in module.modules() if _splits_heads(one)]
    for heads in range(1, _MOST_HEADS + 1):
        width = {one.num_heads * one.head_dim for one in attention}
        if len(width) == 1 and (all_ := width.pop()) % heads == 0 and heads != attention[0].num_heads:
            size = all_ // heads
            change = _set(attention, num_heads=heads, head_dim=size, scale=size**-0.5)
            yield f"has {heads} heads", {"num_heads": heads}, change
    pooling: list[Any] = [one for one in module.modules() if hasattr(one, "global_pool")]
    for pool in ("token", "avg"):
        if any(one.global_pool in ("token", "avg") and one.global_pool != pool for one in pooling):
            yield f"pools by {pool}", {"global_pool": pool}, _set(pooling, global_pool=pool)


def _splits_heads(module: Any) -> bool:
    return all(hasattr(module, name) for name in ("num_heads", "head_dim", "scale"))


@contextmanager
def _set(modules: list[Any], **values: Any) -> Iterator[None]:
    """Attributes changed, and put back."""
    before = [[(name, getattr(module, name)) for name in values] for module in modules]
    try:
        for module in modules:
            for name, value in values.items():
                setattr(module, name, value)
        yield
    finally:
        for module, old in zip(modules, before, strict=True):
            for name, value in old:
                setattr(module, name, value)


@contextmanager
def _replaced(module: nn.Module, kind: str, make: Callable[[], nn.Module]) -> Iterator[None]:
    """Every module of a class replaced by another one, and put back."""
    places = [
        (parent, name, child)
        for parent in list(module.modules())
        for name, child in parent.named_children()
        if type(child).__name__ == kind
    ]
    try:
        for parent, name, _ in places:
            setattr(parent, name, make())
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child)
