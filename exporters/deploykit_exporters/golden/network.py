"""Why a network gives other answers than the recorded one: simple differences, tried one after the other.

The weights come first: what was recorded from other weights cannot be explained by settings. Then come the
input, the variants that our reading names as possible, and the settings that weights do not show, alone and
by twos.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import DeploykitError
from torch import nn

from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deploykit_exporters.golden.difference import Why
from deploykit_exporters.golden.file import Golden
from deploykit_exporters.golden.weights import explain_weights
from deploykit_exporters.load import LoadedCheckpoint
from deploykit_exporters.proof.float64 import Outputs
from deploykit_exporters.proof.tensors import FP32_TOLERANCE

__all__ = ["explain_network"]

_EPS = (1e-3, 1e-5, 1e-6, 1e-12, 1e-8, 1e-2)
_USUAL = (1e-3, 1e-5, 1e-6, "gelu", "gelu_tanh", "quick_gelu", "relu", "silu")
"""What is tried by twos; every pair costs a forward pass."""

_FLOAT32 = 2e-6
"""An idea that leaves less is the right one."""

_MOST_HEADS = 64
_SMALLEST_HEAD = 8
_NAMED_VARIANT = re.compile(r"--variant ([\w.-]*\w)")


class _QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
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
) -> Why:
    """Which simple difference explains the golden answers.

    Args:
        golden: The answers.
        loaded: The checkpoint and our reading of it.
        spec: The contract of the network.
        images: Images of which the answers differ, float32 [N, C, H, W].
        off: How far outputs for them are from the golden ones, as a share of the scale.
        limit: How far an explanation may leave them.
    """
    weights = explain_weights(golden, loaded, rounding=limit >= FP32_TOLERANCE)
    if weights.said:
        return weights
    for ideas in _ideas(loaded, spec, images):
        best, nearest = Why(), limit
        for why, run in ideas:
            left = _left(run, spec, off)
            if left <= nearest:
                best, nearest = why, left
            if left <= min(limit, _FLOAT32):
                break
        if best.said:
            return best
    return Why()


def _left(run: Callable[[], Any], spec: ModelSpec, off: Callable[[Outputs], float]) -> float:
    """How far an idea leaves the outputs from the golden ones."""
    try:
        with torch.no_grad():
            found = run()
    except (RuntimeError, DeploykitError):  # a change that the network or the checkpoint does not allow
        return math.inf
    tensors = (found,) if isinstance(found, torch.Tensor) else tuple(found)
    if len(tensors) != len(spec.output.names):
        return math.inf
    return off({name: one.numpy() for name, one in zip(spec.output.names, tensors, strict=True)})


Idea = tuple[Why, Callable[[], Any]]
"""What the recorded model may do, and our network doing the same."""


def _ideas(loaded: LoadedCheckpoint, spec: ModelSpec, images: np.ndarray) -> Iterator[Iterable[Idea]]:
    """The likely ones, of which the nearest is right; then those that are less likely."""
    module, batch = loaded.built.module.eval(), torch.from_numpy(images)
    changes = list(_changes(module))
    alone = ((_why((one,), spec), partial(_changed, module, (one,), batch)) for one in changes)
    yield chain(_inputs(module, images), _variants(loaded, spec, batch), _embeddings(module, batch), alone)
    usual = [one for one in changes if one.value in _USUAL or one.kind in ("num_heads", "global_pool")]
    pairs = (pair for pair in combinations(usual, 2) if pair[0].kind != pair[1].kind)
    yield ((_why(pair, spec), partial(_changed, module, pair, batch)) for pair in pairs)


def _embeddings(module: nn.Module, batch: torch.Tensor) -> Iterator[Idea]:
    """What CLIPs do to their embeddings when both towers run."""
    why = Why(
        said="The recorded model scales its embeddings to length 1, which is left to the host: record what "
        "is before that, with forward=lambda model, images: model.encode_image(images)."
    )
    yield why, partial(_scaled, module, batch)


def _scaled(module: nn.Module, images: torch.Tensor) -> Any:
    found = module(images)
    if isinstance(found, torch.Tensor):
        return nn.functional.normalize(found, dim=-1)
    return tuple(nn.functional.normalize(one, dim=-1) if one.ndim == 2 else one for one in found)


def _variants(loaded: LoadedCheckpoint, spec: ModelSpec, batch: torch.Tensor) -> Iterator[Idea]:
    """Those that our reading names as possible."""
    for variant in dict.fromkeys(_NAMED_VARIANT.findall(" ".join(spec.assumed))):
        why = Why(said=f"The recorded model is a {variant}.", options=(f"--variant {variant}",))
        yield why, partial(_variant, loaded, variant, batch)


def _variant(loaded: LoadedCheckpoint, name: str, images: torch.Tensor) -> Any:
    return loaded.again(variant=name).module.eval()(images)


def _inputs(module: nn.Module, images: np.ndarray) -> Iterator[Idea]:
    """What a recorded model may do to its input inside."""
    if images.shape[1] != 3:
        return
    swapped = torch.from_numpy(images[:, ::-1].copy())
    why = Why(said="The recorded model takes BGR where deploykit gives RGB, or RGB for BGR.")
    yield why, partial(module, swapped)
    for mean, std in ((IMAGENET_MEAN, IMAGENET_STD), ((0.5,) * 3, (0.5,) * 3)):
        middle, spread = (torch.tensor(one)[:, None, None] for one in (mean, std))
        normalised = (torch.from_numpy(images) - middle) / spread
        why = Why(
            said="The recorded model normalises its input itself: record the part after that.",
            config={"mean": mean, "std": std},
        )
        yield why, partial(module, normalised)


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A setting that weights do not show, with another value.

    Attributes:
        kind, value: The setting as --config of a ViT takes it.
        said: The recorded model in words.
        apply: Gives our network the value for a while.
    """

    kind: str
    value: Any
    said: str
    apply: Callable[[], AbstractContextManager[None]]


def _why(changes: Sequence[_Change], spec: ModelSpec) -> Why:
    config = {one.kind: one.value for one in changes} if spec.family in {"vit", "efficientnet"} else {}
    return Why(said=f"The recorded model {' and '.join(one.said for one in changes)}.", config=config)


def _changed(module: nn.Module, changes: Sequence[_Change], images: torch.Tensor) -> Any:
    with ExitStack() as stack:
        for one in changes:
            stack.enter_context(one.apply())
        return module(images)


def _changes(module: nn.Module) -> Iterator[_Change]:
    norms = [one for one in module.modules() if isinstance(getattr(one, "eps", None), float)]
    for eps in _EPS:
        if any(one.eps != eps for one in norms):
            yield _change("eps", eps, f"has norms with eps {eps:g}", _set, norms, eps=eps)
    for kind in sorted({type(one).__name__ for one in module.modules()} & _ACTIVATION_CLASSES):
        for name, make in _ACTIVATIONS.items():
            said = f"has {name} where deploykit has {kind}"
            yield _change("activation", name, said, _replaced, module, kind, make)
    attention: list[Any] = [one for one in module.modules() if _splits_heads(one)]
    widths = {one.num_heads * one.head_dim for one in attention}
    for heads in range(1, _MOST_HEADS + 1):
        size, rest = divmod(min(widths, default=1), heads)
        known = len(widths) == 1 and not rest and size >= _SMALLEST_HEAD
        if known and heads != attention[0].num_heads:
            values = {"num_heads": heads, "head_dim": size, "scale": size**-0.5}
            yield _change("num_heads", heads, f"has {heads} heads", _set, attention, **values)
    pools = [one for one in module.modules() if getattr(one, "global_pool", None) in ("token", "avg")]
    for pool in ("token", "avg"):
        if any(one.global_pool != pool for one in pools):
            yield _change("global_pool", pool, f"pools by {pool}", _set, pools, global_pool=pool)


def _change(kind: str, value: Any, said: str, apply: Any, *args: Any, **values: Any) -> _Change:
    return _Change(kind=kind, value=value, said=said, apply=lambda: apply(*args, **values))


def _splits_heads(module: Any) -> bool:
    return all(hasattr(module, name) for name in ("num_heads", "head_dim", "scale"))


@contextmanager
def _set(modules: Sequence[Any], **values: Any) -> Iterator[None]:
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
