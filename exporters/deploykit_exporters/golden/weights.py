"""Whether a checkpoint holds the weights that were recorded, and under which key it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from deploykit_exporters.golden.difference import Why
from deploykit_exporters.golden.file import Fingerprint, Golden
from deploykit_exporters.load import LoadedCheckpoint

__all__ = ["explain_weights"]

_SAME = 1e-5
"""Relative difference of a mean or root mean square of the same weights."""

_ROUNDED = 2e-3
"""The same, of weights that were rounded to half precision."""

_SMALLEST_HALF = 2.0**-24

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """Names of the weights that are others, how many were compared, and whether rounding explains all."""

    different: tuple[str, ...]
    compared: int
    rounded: bool


def explain_weights(golden: Golden, loaded: LoadedCheckpoint, *, rounding: bool) -> Why:
    """Whether the recorded weights differ from those of the checkpoint, and where it has them.

    Args:
        golden: What was recorded.
        loaded: The checkpoint.
        rounding: Whether weights that were rounded to half precision are others.

    Returns:
        Empty where the weights are the same, or cannot be compared.
    """
    checkpoint = loaded.checkpoint
    views = dict(_views(checkpoint.tensors, golden.weights))
    own = next((prefix for prefix in (checkpoint.network, loaded.match.prefix) if prefix in views), None)
    if own is None:
        own = next(iter(views), None)
    if own is None:
        return Why()
    found = _compare(golden.weights, views[own])
    if not found.different or (found.rounded and not rounding):
        return Why()
    if found.rounded:
        return Why(
            said="The checkpoint holds the recorded weights rounded to half precision, which is another "
            "network: record the model that is loaded from the checkpoint."
        )
    said = (
        f"{len(found.different)} of {found.compared} weights of the checkpoint are not those of the recorded "
        f"model, the first is {found.different[0]}"
    )
    for key in _keys_of(golden, loaded, own):
        return Why(
            said=f"{said}: those are under {key!r}. Record the model that is exported, or take the other.",
            options=(f"--weights {key}",),
        )
    return Why(
        said=f"{said}: it was saved at another moment, or one of the two is an average (EMA). Record the "
        f"model "
        "whose weights the checkpoint holds."
    )


def _keys_of(golden: Golden, loaded: LoadedCheckpoint, own: str) -> Iterator[str]:
    """What --weights takes the recorded weights by."""
    checkpoint = loaded.checkpoint
    for key, tensors in {checkpoint.weights_key: checkpoint.tensors, **checkpoint.sets}.items():
        for prefix, view in _views(tensors, golden.weights):
            here = key == checkpoint.weights_key
            if (here and prefix == own) or _compare(golden.weights, view).different:
                continue
            yield ".".join(part for part in ("" if here else key, prefix.rstrip(".")) if part)


def _views(tensors: State, recorded: Mapping[str, Fingerprint]) -> Iterator[tuple[str, State]]:
    """The weights under the recorded names: for each prefix under which all of them are, or all but few."""
    if not recorded:
        return
    first = next(iter(recorded))
    prefixes = [key[: -len(first)] for key in tensors if key == first or key.endswith(f".{first}")]
    for prefix in prefixes:
        view = {name: tensors[prefix + name] for name in recorded if prefix + name in tensors}
        if 2 * len(view) > len(recorded):
            yield prefix, view


def _compare(recorded: Mapping[str, Fingerprint], tensors: State) -> _Comparison:
    different, compared, rounded = [], 0, True
    for name, tensor in tensors.items():
        known = recorded[name]
        if tuple(tensor.shape) != known.shape or not tensor.is_floating_point():
            continue
        compared += 1
        values = tensor.double()
        mean, rms = values.mean().item(), values.square().mean().sqrt().item()
        off = max(abs(mean - known.mean), abs(rms - known.rms))
        if off > _SAME * known.rms:
            different.append(name)
            half = tensor.dtype in (torch.float16, torch.bfloat16)
            rounded &= half and off <= _ROUNDED * known.rms + _SMALLEST_HALF
    return _Comparison(different=tuple(different), compared=compared, rounded=rounded)
