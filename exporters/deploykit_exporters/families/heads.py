"""The classifier that training code put beside the network, or in the place of the origin's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.dialects.unused import count_of
from deploykit_exporters.families.classifiers import matched_tensors
from deploykit_exporters.families.head_layers import NORM_PARTS, Layers, build_layers, read_layers
from deploykit_exporters.families.settings import Setting

if TYPE_CHECKING:
    import torch
    from torch import nn

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints, Match, Witness

__all__ = ["Joined", "join_head", "without_classifiers", "witness_of"]

Tensors = Mapping[str, "torch.Tensor"]

_NAMES = frozenset(
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
# What the origins themselves have beside or instead of a plain head.
_OWN = (
    "head_dist.weight",
    "heads.pre_logits.weight",
    "cls_classifier.weight",
    "linear_head.weight",
    "head.pre_logits.weight",
)


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The weights of a network with its classifier under the origin's own name.

    Attributes:
        tensors: For the dialect. Where ``head`` is given, those of the classifier only have its shape.
        head: The classifier of several layers that replaces the origin's, or None.
        found: Whether the classifier was not the origin's own.
        assumed, settings: As in the spec and in ``BuiltModel``.
    """

    tensors: Tensors
    head: nn.Module | None = None
    found: bool = False
    assumed: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()


def witness_of(
    ask: Callable[..., Witness | str] | None,
    joined: Joined,
    origin: str,
    size: tuple[int, int],
    *,
    features: bool,
) -> Callable[[], Witness | str] | None:
    """What builds the origin's own model for images of (height, width), or says why there can be none.

    Args:
        ask: Builds it; None where the origin has none.
        joined: The weights with their classifier.
        origin: Whose model it is.
        size: Of the network's input.
        features: The built model gives features.
    """
    if ask is not None and joined.found:
        return lambda: f"none: the classifier is not {origin}'s own"
    return None if ask is None else partial(ask, size, features=features)


@dataclass
class _Search:
    """Modules that could be the classifier, those that cannot be read, and all others.

    Attributes:
        width: Length of the vector that the network gives to its classifier; None: of any length.
        between: Norms of that length, which may stand before the classifier.
    """

    width: int | None
    candidates: list[Layers] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    between: list[str] = field(default_factory=list)

    def add(self, path: str, tensors: Tensors) -> None:
        layers = read_layers(path, tensors)
        if self.width and set(tensors) <= NORM_PARTS and _rows_of(tensors) == {self.width}:
            self.between.append(path)
            self.others[path] = len(tensors)
        elif any(word in path.lower() for word in _TRAINING):
            self.others[path] = len(tensors)
        elif layers is not None and self.width in (None, layers.inputs):
            self.candidates.append(layers)
        elif self.width is None and path.rpartition(".")[2] in _NAMES:
            self.unreadable.append(path)
        elif any(tensor.ndim > 2 and max(tensor.shape[2:]) > 1 for tensor in tensors.values()):
            # Another network, or a copy of this one.
            self.others[path] = len(tensors)
        elif len(inner := _grouped(tensors)) > 1 and _apart(inner):
            for name, weights in inner.items():
                self.add(f"{path}.{name}", weights)
        elif path.rpartition(".")[2] in _NAMES or self._takes_features(tensors):
            self.unreadable.append(path)
        else:
            self.others[path] = len(tensors)

    def _takes_features(self, tensors: Tensors) -> bool:
        return self.width is not None and any(
            tensor.ndim == 2 and tensor.shape[1] == self.width for tensor in tensors.values()
        )


def _rows_of(tensors: Tensors) -> set[int]:
    """The lengths of the vectors of a norm; of all else something that is no length."""
    return {len(tensor) if tensor.ndim == 1 else -1 for tensor in tensors.values() if tensor.ndim}


def _refuse_between(checkpoint: Checkpoint, search: _Search, hints: Hints) -> None:
    """Refuse a norm that may stand between the network and its classifier, unless the user says otherwise."""
    left = [path for path in search.between if not _is_ignored(path, hints)]
    if left and not hints.features:
        raise CheckpointError(
            f"{checkpoint.path.name}: {left[0]} is a norm on the {search.width} features of the network: "
            "whether it stands before the classifier is not in the file.",
            hint="Save norm and classifier as one module (Sequential(norm, linear)), export what is before "
            f"them with --features, or say that the norm takes no part: --ignore {left[0]}",
        )


def _apart(groups: Mapping[str, Tensors]) -> bool:
    """Whether these are modules of their own and not the layers of one."""
    if any(name.isdigit() or (len(weights) == 1 and "" in weights) for name, weights in groups.items()):
        return False
    inputs = [layers.inputs for name, weights in groups.items() if (layers := read_layers(name, weights))]
    return len(inputs) == len(groups) and len(set(inputs)) == 1


def join_head(checkpoint: Checkpoint, match: Match, own: str, width: int, hints: Hints) -> Joined:
    """Find the classifier, inside and outside of the weights that were matched.

    Args:
        checkpoint: The whole file.
        match: Which of its weights are the network.
        own: What the origin calls its classifier: ``heads.head``.
        width: Length of the vector that the network gives to its classifier; 0: not known.
        hints: ``head`` chooses among several, ``head_activation`` tells what the weights do not.

    Raises:
        CheckpointError: there are several classifiers, or one that cannot be read.
        OptionError: there is none of the name that was asked for, or no place for an activation.
    """
    inside = dict(matched_tensors(checkpoint, match))
    search = _Search(width)
    native = _is_native(inside, own)
    replaced: dict[str, Tensors] = {}
    if not native:
        replaced = {name: group for name, group in _grouped(inside).items() if _replaces(name, own)}
        for name, group in replaced.items():
            search.add(f"{match.prefix}{name}", group)
    for path, group in _outside(checkpoint, match.prefix):
        search.add(path, group)
    kept = {name: tensor for name, tensor in inside.items() if name.partition(".")[0] not in replaced}
    _refuse_between(checkpoint, search, hints)
    if hints.features or (native and not search.candidates and not search.unreadable):
        _check_unused(hints, f"{match.prefix}{own}" if native else "")
        return Joined(tensors=kept, settings=_settings(search, hints))
    chosen = _choose(checkpoint, search, f"{match.prefix}{own}" if native else "", hints)
    if chosen is None:
        _check_unused(hints, f"{match.prefix}{own}" if native else "")
        return Joined(tensors=kept, settings=_settings(search, hints))
    root = own.partition(".")[0]
    kept = {name: tensor for name, tensor in kept.items() if name.partition(".")[0] != root}
    head, assumed = _built(checkpoint, chosen, hints)
    stand_in, assumed_between = _renamed(chosen, head, own, width)
    left = [layers.path for layers in search.candidates if layers is not chosen]
    search.others |= dict.fromkeys([*left, *search.unreadable], 0)
    return Joined(
        tensors={**kept, **stand_in},
        head=None if _is_alone(head) else head,
        found=True,
        assumed=(assumed_between, *assumed),
        settings=_settings(search, hints, chosen=True),
    )


def without_classifiers(
    checkpoint: Checkpoint, match: Match, hints: Hints, *, own: tuple[str, ...]
) -> Joined:
    """The weights of an origin beside which no classifier is built: none may be there, unless features are
    wanted.

    Args:
        checkpoint: The whole file.
        match: Which of its weights are the network.
        hints: ``features`` leaves classifiers aside, ``ignore`` names modules that are none.
        own: Starts of the keys that the origin itself has among the names that classifiers have.

    Raises:
        CheckpointError: a classifier is there.
        OptionError: an option speaks of classifiers.
    """
    inside = dict(matched_tensors(checkpoint, match))
    strange = {
        name: group
        for name, group in _grouped(inside).items()
        if name in _NAMES and not any(f"{name}.{key}".startswith(own) for key in group)
    }
    search = _Search(None)
    for path, group in (
        *((f"{match.prefix}{name}", group) for name, group in strange.items()),
        *_outside(checkpoint, match.prefix),
    ):
        search.add(path, group)
    settings = _settings(search, hints)
    left = {setting.name for setting in settings if setting.treatment == "unknown"} - search.others.keys()
    found = sorted(left)
    if found and not hints.features:
        raise CheckpointError(
            f"{checkpoint.path.name} has {', '.join(found)} beside a network of {match.origin}: classifiers "
            "of one's own are not built there.",
            hint="Export what is before it with --features, or say that it takes no part: "
            f"--ignore {found[0]}",
        )
    _check_unused(hints, own[0].rstrip(".") if own and own[0].endswith(".") else "")
    kept = {name: tensor for name, tensor in inside.items() if name.partition(".")[0] not in strange}
    return Joined(tensors=kept, settings=settings)


def _is_native(inside: Tensors, own: str) -> bool:
    root = own.partition(".")[0]
    linear = [name for name in inside if name.startswith(f"{root}.") and name.endswith("weight")]
    if own == "classifier.1":  # torchvision's dialect reads one layer at any place
        return len(linear) == 1 and inside[linear[0]].ndim == 2
    return f"{own}.weight" in inside or f"{own}.bias" in inside or any(name in inside for name in _OWN)


def _replaces(name: str, own: str) -> bool:
    return name in _NAMES or name == own.partition(".")[0]


def _grouped(tensors: Tensors) -> dict[str, dict[str, torch.Tensor]]:
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest] = tensor
    return groups


def _outside(checkpoint: Checkpoint, prefix: str) -> Iterator[tuple[str, Tensors]]:
    """The modules beside the matched one, and beside each of those that it is in."""
    parts = prefix.split(".")[:-1]
    for depth in range(len(parts)):
        parent = "".join(f"{part}." for part in parts[:depth])
        inside = {
            name.removeprefix(parent): tensor
            for name, tensor in checkpoint.tensors.items()
            if name.startswith(parent)
        }
        for name, group in _grouped(inside).items():
            if name != parts[depth]:
                yield f"{parent}{name}", group


def _choose(checkpoint: Checkpoint, search: _Search, native: str, hints: Hints) -> Layers | None:
    """The classifier that is meant; None: the origin's own, or there is none."""
    names = [layers.path for layers in search.candidates]
    everything = [*([native] if native else []), *names, *search.unreadable]
    if hints.head is not None:
        asked = [name for name in everything if name == hints.head or name.startswith(f"{hints.head}.")]
        if len(asked) != 1:
            raise OptionError(
                f"--head {hints.head} fits {', '.join(asked) or 'none'} of the classifiers of "
                f"{checkpoint.path.name}: {', '.join(everything) or 'none'}."
            )
        if asked[0] == native:
            return None
        if asked[0] in names:
            return search.candidates[names.index(asked[0])]
        raise _not_readable(checkpoint, asked[0], search.width)
    if len(everything) > 1:
        raise CheckpointError(
            f"{checkpoint.path.name} has several classifiers on the {search.width} features of the network: "
            f"{', '.join(everything)}.",
            hint=f"Say which one is meant, for instance --head {everything[0]}, or export the features with "
            "--features.",
        )
    if search.unreadable:
        raise _not_readable(checkpoint, search.unreadable[0], search.width)
    return search.candidates[0] if search.candidates else None


def _not_readable(checkpoint: Checkpoint, path: str, width: int | None) -> CheckpointError:
    inside = [key for key in checkpoint.tensors if f".{key}".find(f".{path}.") >= 0]
    biases = [key.removesuffix("bias") for key in inside if key.endswith(".bias")]
    lost = [f"{layer}weight" for layer in biases if f"{layer}weight" not in checkpoint.tensors]
    missing = f" Missing beside a bias: {lost[0]}." if lost else ""
    return CheckpointError(
        f"{checkpoint.path.name}: {path} looks like the classifier, but is not one layer, or numbered linear "
        f"layers and norms, that take the {width} features of the network.{missing}",
        hint="Export the features with --features.",
    )


def _built(checkpoint: Checkpoint, chosen: Layers, hints: Hints) -> tuple[nn.Sequential, tuple[str, ...]]:
    head, assumed, used = build_layers(chosen, checkpoint.module, hints.head_activation)
    if hints.head_activation is not None and not used:
        raise OptionError(f"--head-activation: {chosen.path} has no place for an activation to be told.")
    return head, assumed


def _is_alone(head: nn.Sequential) -> bool:
    """Whether the classifier is one linear layer, as the origins have it."""
    return len(head) == 1


def _renamed(chosen: Layers, head: nn.Sequential, own: str, width: int) -> tuple[Tensors, str]:
    """The classifier under the origin's name, or weights of its shape where it has more layers than that;
    and a sentence on what is not known about it."""
    import torch

    sentence = (
        f"The classifier is {chosen.path}; it is given the vector that the network gives to a classifier of "
        "its own: what the training code does between them is not in the file."
    )
    if not _is_alone(head):
        # No zeros: a bias of zeros has a meaning of its own.
        weight, bias = torch.ones(chosen.outputs, width), torch.ones(chosen.outputs)
    else:
        layer = next(iter(chosen.layers.values()))
        weight = layer["weight"]
        bias = layer["bias"] if "bias" in layer else torch.zeros(chosen.outputs, dtype=weight.dtype)
    return {f"{own}.weight": weight, f"{own}.bias": bias}, sentence


def _check_unused(hints: Hints, native: str) -> None:
    if hints.head_activation is not None:
        raise OptionError("--head-activation: there is no classifier of several layers to build.")
    if hints.head is not None and not (native == hints.head or native.startswith(f"{hints.head}.")):
        raise OptionError(f"--head {hints.head}: the classifiers of the file: {native or 'none is built'}.")


def _is_ignored(path: str, hints: Hints) -> bool:
    return any(fnmatchcase(path, one) or fnmatchcase(f"weights:{path}", one) for one in hints.ignore)


def _settings(search: _Search, hints: Hints, *, chosen: bool = False) -> tuple[Setting, ...]:
    """Every module outside that takes no part in what is built."""
    listed = dict(search.others)
    if not chosen:
        listed |= dict.fromkeys([*(layers.path for layers in search.candidates), *search.unreadable], 0)
    found = []
    for path, count in listed.items():
        ignored = _is_ignored(path, hints)
        training = any(word in path.lower() for word in _TRAINING)
        found.append(
            Setting(
                where="weights",
                name=path,
                value=count_of(count) if count else "a classifier",
                treatment="ignored" if ignored else "harmless" if training else "unknown",
                why="used while training only" if training and not ignored else "",
            )
        )
    return tuple(found)
