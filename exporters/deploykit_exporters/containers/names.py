"""Names of weights: what wrappers added to them, and the prefixes under which they can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from deploykit_exporters.checkpoint import StateView

if TYPE_CHECKING:
    import torch

__all__ = ["clean_names", "prefix_views", "strip_wrappers"]

# torch.compile, FSDP and activation checkpointing put these anywhere; no architecture uses them.
_ARTEFACTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module"})
# Counters of averaging wrappers that are no weights (torch's AveragedModel, mmengine's EMA).
_COUNTERS = frozenset({"n_averaged", "steps"})
# Attributes under which training code keeps the network; averaged copies first.
_WRAPPERS = (
    "ema",
    "ema_model",
    "model_ema",
    "teacher",
    "model",
    "module",
    "net",
    "network",
    "backbone",
    "encoder",
    "student",
    "classifier",
    "base_model",
)
_MAX_DEPTH = 4
_MOST, _NEARLY_ALL = 0.5, 0.8


def strip_wrappers(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors without the name parts that DataParallel, DistributedDataParallel, FSDP,
    ``torch.compile``, activation checkpointing and averaging wrappers add."""
    names = clean_names(list(tensors))
    return {names[name]: tensor for name, tensor in tensors.items() if name in names}


def clean_names(names: list[str]) -> dict[str, str]:
    """The cleaned name of each name; counters and mmcv's second copies (``ema_a_b`` beside ``a.b``) are
    left out. Names that would collide once cleaned are all left as they are."""
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
    """Drop ``module`` at this depth where it is all that its parent has: then it is a wrapper's."""
    children: dict[tuple[str, ...], set[str]] = {}
    for kept in parts.values():
        if len(kept) > depth:
            children.setdefault(tuple(kept[:depth]), set()).add(kept[depth])
    lonely = {parent for parent, found in children.items() if found == {"module"}}
    for kept in parts.values():
        # A wrapper may be wrapped again.
        while len(kept) > depth + 1 and kept[depth] == "module" and tuple(kept[:depth]) in lonely:
            del kept[depth]


def prefix_views(tensors: Mapping[str, torch.Tensor]) -> Iterator[StateView]:
    """The tensors as they are, then under each prefix that may be a wrapper's: a usual name, or any
    name that most of the keys share and that is not just a list of layers.

    Shorter prefixes come first, and among them averaged copies, then the larger share of the keys.
    """
    yield StateView(prefix="", tensors=tensors)
    groups: dict[str, list[str]] = {}
    for name in tensors:
        position = -1
        for _ in range(_MAX_DEPTH):
            position = name.find(".", position + 1)
            if position < 0:
                break
            groups.setdefault(name[: position + 1], []).append(name)
    for prefix in sorted(groups, key=lambda prefix: _rank(prefix, groups)):
        members = groups[prefix]
        if _is_candidate(prefix, members, len(tensors)):
            yield StateView(prefix=prefix, tensors={name[len(prefix) :]: tensors[name] for name in members})


def _is_candidate(prefix: str, members: list[str], total: int) -> bool:
    if prefix[:-1].rpartition(".")[2] in _WRAPPERS:
        return True
    # Sequential(network, classifier): one part that is nearly all. Layers of one network are no such thing.
    if len(members) <= (_NEARLY_ALL if prefix[:-1].rpartition(".")[2].isdigit() else _MOST) * total:
        return False
    layers = sum(name[len(prefix) :].partition(".")[0].isdigit() for name in members)
    return layers < _MOST * len(members)


def _rank(prefix: str, groups: Mapping[str, list[str]]) -> tuple[int, bool, int]:
    averaged = any(part in _WRAPPERS[:4] for part in prefix.split("."))
    return prefix.count("."), not averaged, -len(groups[prefix])
