"""The prefixes under which the weights of a checkpoint can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["StateView", "prefix_views"]

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


@dataclass(frozen=True, kw_only=True)
class StateView:
    """One way to read the keys of a checkpoint: with ``prefix`` removed from each.

    ``tensors`` holds only the keys that had the prefix (all of them for ``""``).
    """

    prefix: str
    tensors: Mapping[str, torch.Tensor]


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
    # Sequential(network, classifier): one part that is nearly all. Layers of one network do not qualify.
    if len(members) <= (_NEARLY_ALL if prefix[:-1].rpartition(".")[2].isdigit() else _MOST) * total:
        return False
    layers = sum(name[len(prefix) :].partition(".")[0].isdigit() for name in members)
    return layers < _MOST * len(members)


def _rank(prefix: str, groups: Mapping[str, list[str]]) -> tuple[int, bool, int]:
    averaged = any(part in _WRAPPERS[:4] for part in prefix.split("."))
    return prefix.count("."), not averaged, -len(groups[prefix])
