"""Weights that training code stores in parts, and computes for every run.

torch.nn.utils.prune   weight_orig * weight_mask
weight_norm            weight_v with each row of the length that weight_g says;
                       in parametrizations original1 and original0
spectral_norm          weight_orig over its largest singular value, by weight_u and weight_v;
                       in parametrizations original, 0._u and 0._v

Their value in eval mode takes the place of the parts. Other parametrizations keep their names and are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

__all__ = ["PARAMETRIZED", "computed"]

PARAMETRIZED = re.compile(r"(^|\.)parametrizations\.")
_END = re.compile(r"((?:.*\.)?)(?:parametrizations\.(\w+)\.(original1|original)|(\w+)_(v|orig))")

Tensors = Mapping[str, torch.Tensor]


def computed(tensors: Tensors) -> tuple[dict[str, torch.Tensor], str]:
    """The weights, with those stored in parts computed, and a note about them; empty if there are none."""
    found: dict[str, torch.Tensor] = {}
    used: set[str] = set()
    ways: dict[str, int] = {}
    for key in tensors:
        match = _END.fullmatch(key)
        if match is None:
            continue
        parent, new, _, old, _ = match.groups()
        name = f"{parent}{new or old}"
        start = f"{parent}parametrizations.{new}." if new else f"{name}_"
        if name in tensors:
            continue
        for way, parts, compute in _WAYS:
            keys = [f"{start}{part}" for part in parts]
            if all(one in tensors for one in keys) and not used & set(keys):
                weight = compute(*(tensors[one].float() for one in keys))
                if weight is not None:
                    found[keys[0]] = weight
                    used |= set(keys)
                    ways[way] = ways.get(way, 0) + 1
    if not found:
        return dict(tensors), ""
    whole = {}
    for key, tensor in tensors.items():
        if key in found:
            match = _END.fullmatch(key)
            assert match is not None
            whole[f"{match[1]}{match[2] or match[4]}"] = found[key].to(tensor.dtype)
        elif key not in used:
            whole[key] = tensor
    told = " and ".join(f"{way} ({count} weights)" for way, count in ways.items())
    return whole, f"Computed as in evaluation: {told}."


def _pruned(weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
    return weight * mask if weight.shape == mask.shape else None


def _normed(direction: torch.Tensor, length: torch.Tensor) -> torch.Tensor | None:
    """``weight_norm``: the lengths have one axis of the weight, or none."""
    if not length.ndim:
        length = length.reshape([1] * direction.ndim)
    kept = [axis for axis, size in enumerate(length.shape) if size != 1]
    if length.ndim != direction.ndim or any(length.shape[axis] != direction.shape[axis] for axis in kept):
        return None
    if len(kept) > 1:
        return None
    # A single row has one length, too.
    axes = [axis for axis in range(direction.ndim) if axis not in kept]
    norms: torch.Tensor = torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
    return direction * (length / norms)


def _spectral(weight: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor | None:
    """``spectral_norm`` along the first axis, with the saved singular vectors."""
    rows = weight.flatten(1) if weight.ndim > 1 else weight
    if weight.ndim < 2 or left.shape != rows.shape[:1] or right.shape != rows.shape[1:]:
        return None
    return weight / torch.dot(left, rows @ right)


_WAYS = (
    ("pruning", ("orig", "mask"), _pruned),
    ("spectral_norm", ("orig", "u", "v"), _spectral),
    ("weight_norm", ("v", "g"), _normed),
    ("weight_norm", ("original1", "original0"), _normed),
    ("spectral_norm", ("original", "0._u", "0._v"), _spectral),
)
