"""Several networks in one state dict: student and teacher, online and momentum encoders, an ensemble.

A network is a part of the state dict, under a common start of names, that a family claims by itself. So the
layers of a network do not count as networks, however they are named and however often they repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import children
from deploykit_exporters.containers.weights.averages import is_averaged
from deploykit_exporters.containers.weights.found import copies, equal, option, said
from deploykit_exporters.families.registry import families
from deploykit_exporters.state_views import StateView

if TYPE_CHECKING:
    import torch

__all__ = ["Network", "networks", "settle"]

_CERTAIN = 0.9
"""A weaker claim is made on names that parts of other networks have too."""
_SHARE = 0.2
# A network lies inside a few others, and few lie in one file: more come of a file that was made so.
_MAX_DEPTH = 8
_MAX_NETWORKS = 64
_TOP = "."
_TRAINING = ("criterion", "loss", "losses", "metric", "metrics", "perceptual", "lpips", "discriminator")
_LISTED = 8


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of a state dict.

    Attributes:
        prefix: The start of the names of its weights, to the last dot: ``model.student.``.
        inner: The start after which they are recognised without a wrapper: ``model.student.backbone.``.
        key: Its name for --weights: the shortest start that no other network has, or ``.`` for one at the
            top.
        tensors: Its weights, by names without ``prefix``.
        core: Those under ``inner``, by names without it.
    """

    prefix: str
    inner: str
    key: str
    tensors: Mapping[str, torch.Tensor]
    core: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class _Alone(Checkpoint):
    """A part of a checkpoint as if it were the whole: no wrappers are searched for."""

    def views(self) -> Iterator[StateView]:
        yield StateView(prefix="", tensors=self.tensors)


def settle(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with the intended network, if its weights belong to several.

    Raises:
        CheckpointError: only the user can say which is meant.
        OptionError: there is no network under the name that the user gave.
    """
    found = networks(checkpoint)
    if checkpoint.part:
        inside = _asked(found, checkpoint.part)
        if not found and (part := _parts(checkpoint).get(f"{checkpoint.part}.")) is not None:
            # Whoever reads it, or says what it is, sees this part alone.
            return replace(checkpoint, tensors=part.tensors, module=part.module, part="")
        if not inside:
            raise _no_such_network(checkpoint)
        if len(inside) > 1:
            raise _question(checkpoint, inside)
        note = f"Took the weights under {checkpoint.part!r}, as --weights says."
        return _only(checkpoint, inside[0], found, note)
    if len(found) < 2:
        return checkpoint
    used = [one for one in found if not any(part in _TRAINING for part in one.prefix.split("."))]
    used = used or list(found)
    if len(used) == 1:
        left = ", ".join(repr(one.key) for one in found if one is not used[0])
        return _only(checkpoint, used[0], found, f"Left out: {left}, networks of the training.")
    taken, note = _decide(checkpoint, used)
    if taken is None:
        raise _question(checkpoint, used)
    return _only(checkpoint, taken, found, note)


def networks(checkpoint: Checkpoint) -> tuple[Network, ...]:
    """The networks of the state dict, in its order."""
    claimed: dict[str, Checkpoint] = {}
    certain: dict[str, bool] = {}
    for prefix, part in _parts(checkpoint).items():
        score = _claim(part)
        if score:
            claimed[prefix], certain[prefix] = part, score >= _CERTAIN
    if any(certain.values()):
        claimed = {prefix: part for prefix, part in claimed.items() if certain[prefix]}
    else:
        share = _SHARE * len(checkpoint.tensors)
        claimed = {prefix: part for prefix, part in claimed.items() if not _is_list(prefix, claimed)}
        claimed = {prefix: part for prefix, part in claimed.items() if len(part.tensors) >= share}
    chains = _chains(claimed, nested=any(certain.values()))
    inner = [chain[-1] for chain in chains]
    keys = [_key(start, inner) for start in inner]
    return tuple(
        Network(
            prefix=chain[0],
            inner=chain[-1],
            key=key,
            tensors=_own(claimed[chain[0]].tensors, chain[0], keys, key),
            core=_own(claimed[chain[-1]].tensors, chain[-1], keys, key),
        )
        for chain, key in zip(chains, keys, strict=True)
    )


def _own(
    tensors: Mapping[str, torch.Tensor], prefix: str, keys: Iterable[str], key: str
) -> dict[str, torch.Tensor]:
    """The weights of a part that belong to no other network inside it."""
    others = tuple(f"{other}."[len(prefix) :] for other in keys if other != key and other.startswith(prefix))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(others)}


def _parts(checkpoint: Checkpoint) -> dict[str, Checkpoint]:
    """Every part under a common start of names: the whole first, outer parts before inner ones."""
    groups: dict[str, dict[str, torch.Tensor]] = {"": dict(checkpoint.tensors)}
    for name, tensor in checkpoint.tensors.items():
        position = 0
        for _ in range(_MAX_DEPTH):
            position = name.find(".", position) + 1
            if not position:
                break
            groups.setdefault(name[:position], {})[name[position:]] = tensor
    return {
        prefix: _Alone(
            path=checkpoint.path,
            sha256=checkpoint.sha256,
            container=checkpoint.container,
            tensors=tensors,
            meta=checkpoint.meta,
            module=_submodule(checkpoint.module, prefix),
        )
        for prefix, tensors in sorted(groups.items(), key=lambda group: group[0].count("."))
        if len(tensors) > 1
    }


def _submodule(module: Any, prefix: str) -> Any:
    for name in prefix.split(".")[:-1]:
        module = children(module).get(name)
    return module


def _claim(part: Checkpoint) -> float:
    """How certain a family is that this is one of its networks, from 0 to 1."""
    matches = (family.match(part) for family in families().values())
    return max((match.score for match in matches if match is not None), default=0.0)


def _chains(claimed: Mapping[str, Checkpoint], *, nested: bool) -> list[list[str]]:
    """The claimed starts of each network, from outer to inner: a start claimed only for what it wraps is
    the same network.
    """
    chains: list[list[str]] = []
    for prefix in list(claimed)[:_MAX_NETWORKS]:
        around = [chain for chain in chains if prefix.startswith(chain[-1])]
        if not around:
            chains.append([prefix])
            continue
        chain = max(around, key=lambda chain: len(chain[-1]))
        outer = claimed[chain[-1]]
        start = prefix.removeprefix(chain[-1])
        rest = {name: tensor for name, tensor in outer.tensors.items() if not name.startswith(start)}
        if not _claim(replace(outer, tensors=rest)):
            chain.append(prefix)
        elif nested:
            chains.append([prefix])
    return chains


def _is_list(prefix: str, claimed: Mapping[str, Checkpoint]) -> bool:
    """Whether a part consists only of several claimed ones: ``models.0.`` and ``models.1.``."""
    inside = [other for other in claimed if other != prefix and other.startswith(prefix)]
    outer = [one for one in inside if not any(one != other and one.startswith(other) for other in inside)]
    count = sum(len(claimed[one].tensors) for one in outer)
    return len(outer) > 1 and count == len(claimed[prefix].tensors)


def _key(inner: str, others: Iterable[str]) -> str:
    parts = inner.split(".")[:-1]
    for length in range(1, len(parts) + 1):
        key = ".".join(parts[:length])
        if not any(other != inner and f"{other}.".startswith(f"{key}.") for other in others):
            return key
    return ".".join(parts) or _TOP


def _asked(found: Iterable[Network], part: str) -> list[Network]:
    """The networks under a start of names; only the one with exactly that name, if there is one."""
    exact = [one for one in found if part == one.key]
    return exact or [one for one in found if f"{one.inner}.".startswith(f"{part}.")]


def _decide(checkpoint: Checkpoint, found: list[Network]) -> tuple[Network | None, str]:
    """The intended network if it is clear, and why; None if only the user can say."""
    first = found[0]
    if not all(copies(one.core, first.core) for one in found):
        return None, ""
    others = [one for one in found if one is not first]
    if all(equal(one.core, first.core) for one in others):
        return first, f"{', '.join(repr(one.key) for one in found)} are equal networks; took {first.key!r}."
    averaged = [one for one in found if is_averaged(one.key)]
    if len(averaged) != 1:
        return None, ""
    keys = " or ".join(_option(checkpoint, one) for one in found if one is not averaged[0])
    return averaged[0], (
        f"{', '.join(repr(one.key) for one in found)} are copies of one network: took the averaged one, "
        f"{averaged[0].key!r}; {keys} takes the other."
    )


def _option(checkpoint: Checkpoint, network: Network) -> str:
    """What the user types to choose a network."""
    at_top = network.key == _TOP or not checkpoint.weights_key
    return said(option(network.key if at_top else f"{checkpoint.weights_key}.{network.key}"))


def _only(checkpoint: Checkpoint, taken: Network, found: Iterable[Network], note: str) -> Checkpoint:
    """The checkpoint without the other networks. Weights outside all networks stay: they may be a
    classifier.
    """
    kept = {
        name: tensor for name, tensor in checkpoint.tensors.items() if _owner(name, found) in (taken, None)
    }
    key = ".".join(name for name in (checkpoint.weights_key, taken.key) if name and name != _TOP)
    told = replace(checkpoint, weights_key=key, notes=(*checkpoint.notes, note), part="")
    prefix = taken.prefix
    if (place := _place(taken, found)) is not None:
        prefix = place.prefix
        kept = {
            f"{place.inner}{name.removeprefix(taken.inner)}" if name.startswith(taken.inner) else name: tensor
            for name, tensor in kept.items()
        }
        told = replace(told, notes=(*told.notes, f"{taken.key!r} replaces {place.key!r}."))
    chosen = replace(told, tensors=kept, network=prefix)
    if any(family.match(chosen) for family in families().values()):
        return chosen
    # Families that read pickled modules want the network as the whole.
    return replace(told, tensors=taken.tensors, module=_submodule(checkpoint.module, taken.prefix))


def _place(taken: Network, found: Iterable[Network]) -> Network | None:
    """The copy that a network replaces: one with a classifier under names that a family knows (``vit.*``
    with ``classifier.*``), if the network itself (``ema_vit.*``) has none.
    """
    if taken.prefix != taken.inner:
        return None
    around = [one for one in found if one.prefix != one.inner and taken.inner.startswith(one.prefix)]
    return next((one for one in around if copies(one.core, taken.core)), None)


def _owner(name: str, found: Iterable[Network]) -> Network | None:
    """The innermost network that a weight belongs to; None if it is outside all of them."""
    around = [one for one in found if one.key == _TOP or name.startswith(f"{one.key}.")]
    return max(around, key=lambda one: len(one.key) if one.key != _TOP else 0, default=None)


def _question(checkpoint: Checkpoint, found: list[Network]) -> CheckpointError:
    same = all(copies(one.core, found[0].core) for one in found)
    listed = ", ".join(repr(one.key) for one in found[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
    what = "copies of one network" if same else "networks"
    return CheckpointError(
        f"{checkpoint.path.name} holds {len(found)} {what}: {listed}. It does not say which one is meant.",
        hint=f"Say which: {' or '.join(_option(checkpoint, one) for one in found[:_LISTED])}",
    )


def _no_such_network(checkpoint: Checkpoint) -> OptionError:
    keys: list[str] = []
    for start, tensors in checkpoint.sets.items():
        module = checkpoint.module if start == checkpoint.weights_key else None
        found = networks(replace(checkpoint, tensors=tensors, module=module))
        inside = [one.key for one in found] if len(found) > 1 else [_TOP] * len(found)
        keys += [".".join(name for name in (start, key) if name and name != _TOP) for key in inside]
    named = [key for key in keys if key]
    return OptionError(
        f"--weights {checkpoint.part}: {checkpoint.path.name} has no network there.",
        hint=f"It has networks under {', '.join(named[:_LISTED])}." if named else "Leave --weights out.",
    )
