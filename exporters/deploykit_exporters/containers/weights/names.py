"""Names of weights, without the prefixes that wrappers added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["clean_names", "strip_wrappers"]

# torch.compile, FSDP and activation checkpointing put these anywhere; no architecture uses them.
_ARTEFACTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module"})
# Counters of averaging wrappers that are not weights (torch's AveragedModel, mmengine's EMA).
_COUNTERS = frozenset({"n_averaged", "steps"})


def strip_wrappers(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors without the name parts that DataParallel, DistributedDataParallel, FSDP,
    ``torch.compile``, activation checkpointing and averaging wrappers add."""
    names = clean_names(list(tensors))
    return {names[name]: tensor for name, tensor in tensors.items() if name in names}


def clean_names(names: list[str]) -> dict[str, str]:
    """The cleaned name of each name; counters and mmcv's second copies (``ema_a_b`` for ``a.b``) are
    left out. Names that would collide once cleaned are all left as they are.
    """
    flattened = {f"ema_{name.replace('.', '_')}" for name in names}
    parts = {
        name: [part for part in name.split(".") if part not in _ARTEFACTS]
        for name in names
        if name.rpartition(".")[2] not in _COUNTERS and not ("." not in name and name in flattened)
    }
    for depth in range(3):
        _drop_lonely_module(parts, depth)
    cleaned = {name: ".".join(kept) for name, kept in parts.items()}
    if len(set(cleaned.values())) < len(cleaned):
        return {name: name for name in cleaned}
    return cleaned


def _drop_lonely_module(parts: dict[str, list[str]], depth: int) -> None:
    """Drop ``module`` at this depth if it is its parent's only member, and so a wrapper's."""
    children: dict[tuple[str, ...], set[str]] = {}
    for kept in parts.values():
        if len(kept) > depth:
            children.setdefault(tuple(kept[:depth]), set()).add(kept[depth])
    lonely = {parent for parent, found in children.items() if found == {"module"}}
    for kept in parts.values():
        # A wrapper may be wrapped again.
        while len(kept) > depth + 1 and kept[depth] == "module" and tuple(kept[:depth]) in lonely:
            del kept[depth]
