"""The classifier that training code added to the network, or put in place of the origin's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.containers.pickles.inert import class_path
from deploykit_exporters.families.beside.network import COSINES
from deploykit_exporters.families.heads.layers import Layers, build_layers, scores_behind
from deploykit_exporters.families.heads.search import (
    NAMES,
    Search,
    Tensors,
    grouped,
    is_ignored,
    outside,
    settings_of,
)
from deploykit_exporters.families.settings import Setting
from deploykit_exporters.families.shared.classifiers import matched_tensors
from deploykit_exporters.families.shared.pickled import at, is_own

if TYPE_CHECKING:
    from deploykit_runtimes.contract.spec import Activation
    from torch import nn

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints, Match, Witness

__all__ = ["Joined", "join_head", "without_classifiers", "witness_of"]

_FEATURES = "Export what comes before it with --features."
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
        tensors: The weights for the dialect. If ``head`` is given, those of the classifier are placeholders
            with its shape.
        head: A classifier with several layers that replaces the origin's, or None.
        found: Whether the classifier was not the origin's own.
        scores: The activation at the end of a pickled classifier that turns logits into scores; None if
            unknown.
        assumed, settings: As in the spec and in ``BuiltModel``.
    """

    tensors: Tensors
    head: nn.Module | None = None
    found: bool = False
    scores: Activation | None = None
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
    """A builder of the origin's own model for images of (height, width), or the reason why there is none.

    Args:
        ask: Builds it; None if the origin has none.
        joined: The weights with their classifier.
        origin: The origin of the model.
        size: Size of the network's input.
        features: The built model returns features.
    """
    if ask is not None and joined.found:
        return lambda: f"none: the classifier is not {origin}'s own"
    return None if ask is None else partial(ask, size, features=features)


def _refuse_between(checkpoint: Checkpoint, search: Search, hints: Hints) -> None:
    """Refuse a norm that may stand between the network and its classifier, unless the user says otherwise."""
    left = [path for path in search.between if not is_ignored(path, hints)]
    if left and not hints.features:
        raise CheckpointError(
            f"{checkpoint.path.name}: {left[0]} is a norm on the {search.width} features of the network: "
            f"the file does not say whether it comes before the classifier.",
            hint="Save norm and classifier as one module (Sequential(norm, linear)), export what comes "
            f"before them with --features, or say that the norm takes no part: --ignore {left[0]}",
        )


def join_head(checkpoint: Checkpoint, match: Match, own: str, width: int, hints: Hints) -> Joined:
    """Find the classifier, inside and outside the weights that were matched.

    Args:
        checkpoint: The whole file.
        match: Which of its weights are the network.
        own: The origin's name for its classifier: ``heads.head``.
        width: Length of the vector that the network passes to its classifier; 0: unknown.
        hints: ``head`` chooses among several, ``head_activation`` gives what the weights do not show.

    Raises:
        CheckpointError: there are several classifiers, or one that cannot be read.
        OptionError: there is none with the requested name, or no place for an activation.
    """
    inside = dict(matched_tensors(checkpoint, match))
    search = Search(width)
    native = _is_native(inside, own)
    replaced: dict[str, Tensors] = {}
    if not native:
        replaced = {name: group for name, group in grouped(inside).items() if _replaces(name, own)}
        for name, group in replaced.items():
            search.add(f"{match.prefix}{name}", group)
    for path, group in outside(checkpoint, match.prefix):
        search.add(path, group)
    kept = {name: tensor for name, tensor in inside.items() if name.partition(".")[0] not in replaced}
    _refuse_between(checkpoint, search, hints)
    root, called = own.partition(".")[0], f"{match.prefix}{own}" if native else ""
    chosen = None
    if not hints.features and (not native or search.candidates or search.unreadable):
        chosen = _choose(checkpoint, search, called, hints)
    if chosen is None:
        if not native:
            _refuse_wider(checkpoint, search, hints)
        _check_unused(hints, called)
        at_root = f"{match.prefix}{root}"
        scores = None if hints.features else scores_behind(at(checkpoint.module, at_root), at_root)
        return Joined(tensors=kept, scores=scores, settings=settings_of(search, hints))
    kept = {name: tensor for name, tensor in kept.items() if name.partition(".")[0] != root}
    _refuse_other_code(checkpoint, chosen, hints)
    head, assumed = _built(checkpoint, chosen, hints)
    stand_in, assumed_between = _renamed(chosen, head, own, width, told=checkpoint.module is not None)
    left = [layers.path for layers in search.candidates if layers is not chosen]
    search.others |= dict.fromkeys([*left, *search.unreadable], 0)
    return Joined(
        tensors={**kept, **stand_in},
        head=None if _is_alone(head) else head,
        found=True,
        scores=scores_behind(at(checkpoint.module, chosen.path), chosen.path),
        assumed=(assumed_between, *assumed),
        settings=settings_of(search, hints, chosen=True),
    )


def without_classifiers(
    checkpoint: Checkpoint, match: Match, hints: Hints, *, own: tuple[str, ...]
) -> Joined:
    """The weights of an origin for which no added classifier is built: there must be none, unless features
    are exported.

    Args:
        checkpoint: The whole file.
        match: Which of its weights are the network.
        hints: ``features`` leaves out classifiers, ``ignore`` names modules that are not classifiers.
        own: Starts of the origin's own keys that look like names of classifiers.

    Raises:
        CheckpointError: a classifier is there.
        OptionError: an option concerns classifiers.
    """
    inside = dict(matched_tensors(checkpoint, match))
    strange = {
        name: group
        for name, group in grouped(inside).items()
        if name in NAMES and not any(f"{name}.{key}".startswith(own) for key in group)
    }
    search = Search(None)
    for path, group in (
        *((f"{match.prefix}{name}", group) for name, group in strange.items()),
        *outside(checkpoint, match.prefix),
    ):
        search.add(path, group)
    settings = settings_of(search, hints)
    left = {setting.name for setting in settings if setting.treatment == "unknown"} - search.others.keys()
    found = sorted(left)
    if found and not hints.features:
        raise CheckpointError(
            f"{checkpoint.path.name} has {', '.join(found)} beside a network of {match.origin}: deploykit "
            f"does not build custom classifiers there.",
            hint="Export what comes before it with --features, or say that it takes no part: "
            f"--ignore {found[0]}",
        )
    _check_unused(hints, own[0].rstrip(".") if own and own[0].endswith(".") else "")
    kept = {name: tensor for name, tensor in inside.items() if name.partition(".")[0] not in strange}
    return Joined(tensors=kept, settings=settings)


def _refuse_wider(checkpoint: Checkpoint, search: Search, hints: Hints) -> None:
    """Refuse to leave out modules that can only be the classifier of a network without one of its own.

    Raises:
        CheckpointError: layers that end in a linear one take another vector than the network returns.
    """
    found = [] if hints.features else [one for one in search.wider if not is_ignored(one.path, hints)]
    if found:
        head = found[0]
        twice = (
            "fastai's head takes two poolings side by side, which deploykit does not build"
            if head.inputs == 2 * (search.width or 0)
            else "the file does not say what the training code does between them"
        )
        raise CheckpointError(
            f"{checkpoint.path.name}: {head.path} ends in a linear layer, as a classifier does, and takes "
            f"{head.inputs} numbers; the network gives {search.width} features: {twice}.",
            hint=f"{_FEATURES} If {head.path} takes no part in the answers, say so: --ignore "
            f"{quote(head.path)}",
        )


def _is_native(inside: Tensors, own: str) -> bool:
    root = own.partition(".")[0]
    linear = [name for name in inside if name.startswith(f"{root}.") and name.endswith("weight")]
    if own == "classifier.1":
        return linear == ["classifier.1.weight"] and inside[linear[0]].ndim == 2
    return f"{own}.weight" in inside or f"{own}.bias" in inside or any(name in inside for name in _OWN)


def _replaces(name: str, own: str) -> bool:
    return name in NAMES or name == own.partition(".")[0]


def _choose(checkpoint: Checkpoint, search: Search, native: str, hints: Hints) -> Layers | None:
    """The intended classifier; None: the origin's own, or there is none."""
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
        _refuse_chain(checkpoint, search)
        raise _not_readable(checkpoint, asked[0], search.width)
    if len(everything) > 1:
        _refuse_chain(checkpoint, search)
        raise CheckpointError(
            f"{checkpoint.path.name} has several classifiers on the {search.width} features of the network: "
            f"{', '.join(everything)}.",
            hint=f"Say which one is meant, for instance --head {everything[0]}, or export the features with "
            "--features.",
        )
    if search.unreadable:
        _refuse_chain(checkpoint, search)
        raise _not_readable(checkpoint, search.unreadable[0], search.width)
    return search.candidates[0] if search.candidates else None


def _refuse_chain(checkpoint: Checkpoint, search: Search) -> None:
    """Refuse a classifier that takes the output of another module outside the network.

    Raises:
        CheckpointError: there is one.
    """
    chain = search.chain()
    if chain is not None and chain[0] != chain[1]:
        neck, head = chain
        raise CheckpointError(
            f"{checkpoint.path.name}: {head} takes what {neck} gives, and the file does not say what lies "
            f"between them.",
            hint=f"Save both as one module, {head} = Sequential(*{neck}, ACTIVATION, {head}), as a whole "
            f"(torch.save(model)) or as a state dict with --head-activation NAME. {_FEATURES}",
        )


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
        raise OptionError(f"--head-activation: {chosen.path} has no place for an activation.")
    return head, assumed


def _refuse_other_code(checkpoint: Checkpoint, chosen: Layers, hints: Hints) -> None:
    """Refuse a classifier whose class or name says that it is not linear.

    Raises:
        CheckpointError: names it, and the option that declares it linear.
    """
    node, file = at(checkpoint.module, chosen.path), checkpoint.path.name
    kind = class_path(node)
    if is_own(node) and not any(fnmatchcase(kind, one) for one in hints.ignore):
        raise CheckpointError(
            f"{file}: the classifier {chosen.path} is a {kind}, a custom class: its code is not in the file.",
            hint=f"If it does what a linear layer does, say so: --ignore {quote(kind)}. {_FEATURES}",
        )
    alone = len(chosen.layers) == 1 and "bias" not in next(iter(chosen.layers.values()))
    words = re.split(r"[._]", chosen.path.lower())
    cosines = node is None and alone and any(word.startswith(COSINES) for word in words)
    if cosines and not is_ignored(chosen.path, hints):
        raise CheckpointError(
            f"{file}: {chosen.path} has no bias and the name of a classifier that compares directions "
            "(cosines), which has the same weights as a linear layer.",
            hint=f"If it is a linear layer, say so: --ignore {quote(chosen.path)}. {_FEATURES}",
        )


def _is_alone(head: nn.Sequential) -> bool:
    """Whether the classifier is a single linear layer, as in the origins."""
    return len(head) == 1


def _renamed(chosen: Layers, head: nn.Sequential, own: str, width: int, *, told: bool) -> tuple[Tensors, str]:
    """The classifier under the origin's name, or placeholders of its shape if it has more layers; and a
    sentence about what is unknown about it.
    """
    import torch

    sentence = (
        f"The classifier is {chosen.path}; its input is the vector that the network's own classifier would "
        f"get: the file does not say what the training code does between them."
    )
    if not told and min(chosen.layers) >= 0:
        sentence += (
            " Nothing is assumed to follow its last layer: a Sigmoid there would have no weights; "
            """--config '{"scores": "sigmoid"}' says so."""
        )
    if _is_alone(head) and "bias" not in next(iter(chosen.layers.values())):
        sentence += " It has no bias, and is assumed to be a linear layer: cosines have the same weights."
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
