"""The search for classifiers among the weights inside and outside a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from deploykit_exporters.families.heads.layers import NORM_PARTS, Layers, read_layers
from deploykit_exporters.families.settings import Setting
from deploykit_exporters.families.shared.unused import count_of

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["NAMES", "Search", "Tensors", "grouped", "is_ignored", "outside", "settings_of"]

Tensors = Mapping[str, "torch.Tensor"]

NAMES = frozenset(
    {
        "head",
        "heads",
        "classifier",
        "fc",
        "_fc",
        "cls_head",
        "linear",
        "mlp_head",
        "out",
        "output",
        "linear_head",
    }
    | {"classification_head", "cls", "final", "last_linear", "logits", "mlp", "top"}
)
# Parts of the training that no model has when it is used.
_TRAINING = ("criterion", "loss", "metric", "accuracy", "dino_head", "ibot_head", "center", "queue")


@dataclass
class Search:
    """Modules that could be the classifier, those that cannot be read, and all others.

    Attributes:
        width: Length of the vector that the network passes to its classifier; None: any length.
        between: Norms of that length, which may precede the classifier.
        wider: Layers that end in a linear one but take a vector of another length.
        groups: The weights of each module that could be the classifier.
    """

    width: int | None
    candidates: list[Layers] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    between: list[str] = field(default_factory=list)
    wider: list[Layers] = field(default_factory=list)
    groups: dict[str, Tensors] = field(default_factory=dict)

    def add(self, path: str, tensors: Tensors) -> None:
        layers = read_layers(path, tensors)
        self.groups[path] = tensors
        if self.width and set(tensors) <= NORM_PARTS and _rows_of(tensors) == {self.width}:
            self.between.append(path)
            self.others[path] = len(tensors)
        elif any(word in path.lower() for word in _TRAINING):
            self.others[path] = len(tensors)
        elif layers is not None and self.width in (None, layers.inputs):
            self.candidates.append(layers)
        elif self.width is None and path.rpartition(".")[2] in NAMES:
            self.unreadable.append(path)
        elif any(tensor.ndim > 2 and max(tensor.shape[2:]) > 1 for tensor in tensors.values()):
            # Another network, or a copy of this one.
            self.others[path] = len(tensors)
        elif len(inner := grouped(tensors)) > 1 and _are_separate(inner):
            for name, weights in inner.items():
                self.add(f"{path}.{name}", weights)
        elif path.rpartition(".")[2] in NAMES or self._takes_features(tensors):
            self.unreadable.append(path)
        else:
            self.others[path] = len(tensors)
            if layers is not None and self.width:
                self.wider.append(layers)

    def chain(self) -> tuple[str, str] | None:
        """Two modules of which one takes the features and the other takes its output; None if there are
        none.
        """
        named = {*(layers.path for layers in self.candidates), *self.unreadable}
        for path, tensors in self.groups.items():
            last = read_layers(path, tensors) if path in named else None
            for other, weights in self.groups.items():
                if last is None or other == path or not self._takes_features(weights):
                    continue
                if any(one.ndim == 2 and one.shape[0] == last.inputs for one in weights.values()):
                    return other, path
        return None

    def _takes_features(self, tensors: Tensors) -> bool:
        return self.width is not None and any(
            tensor.ndim == 2 and tensor.shape[1] == self.width for tensor in tensors.values()
        )


def _rows_of(tensors: Tensors) -> set[int]:
    """The vector length of a norm; for anything else, a value that is not a length."""
    return {len(tensor) if tensor.ndim == 1 else -1 for tensor in tensors.values() if tensor.ndim}


def _are_separate(groups: Mapping[str, Tensors]) -> bool:
    """Whether these are separate modules, not the layers of one."""
    if any(name.isdigit() or (len(weights) == 1 and "" in weights) for name, weights in groups.items()):
        return False
    inputs = [layers.inputs for name, weights in groups.items() if (layers := read_layers(name, weights))]
    return len(inputs) == len(groups) and len(set(inputs)) == 1


def grouped(tensors: Tensors) -> dict[str, dict[str, torch.Tensor]]:
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest] = tensor
    return groups


def outside(checkpoint: Checkpoint, prefix: str) -> Iterator[tuple[str, Tensors]]:
    """The modules next to the matched one, and next to each module that contains it."""
    parts = prefix.split(".")[:-1]
    for depth in range(len(parts)):
        parent = "".join(f"{part}." for part in parts[:depth])
        inside = {
            name.removeprefix(parent): tensor
            for name, tensor in checkpoint.tensors.items()
            if name.startswith(parent)
        }
        for name, group in grouped(inside).items():
            if name != parts[depth]:
                yield f"{parent}{name}", group


def is_ignored(path: str, hints: Hints) -> bool:
    return any(fnmatchcase(path, one) or fnmatchcase(f"weights:{path}", one) for one in hints.ignore)


def settings_of(search: Search, hints: Hints, *, chosen: bool = False) -> tuple[Setting, ...]:
    """Settings for every outside module that takes no part in what is built."""
    listed = dict(search.others)
    if not chosen:
        listed |= dict.fromkeys([*(layers.path for layers in search.candidates), *search.unreadable], 0)
    found = []
    for path, count in listed.items():
        ignored = is_ignored(path, hints)
        training = any(word in path.lower() for word in _TRAINING)
        found.append(
            Setting(
                where="weights",
                name=path,
                value=count_of(count) if count else "a classifier",
                treatment="ignored" if ignored else "harmless" if training else "unknown",
                why="used only in training" if training and not ignored else "",
            )
        )
    return tuple(found)
