"""Which weights of a file are exported, and what else the file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.pickles.inert import InertObject, is_module
from deploykit_exporters.containers.weights.finder import TRAINING_STATE, Finder
from deploykit_exporters.containers.weights.flattened import mmcv_question
from deploykit_exporters.containers.weights.found import STATISTICS, Found, Tensors, entries_of, option, said
from deploykit_exporters.containers.weights.partial import nothing_found, refuse_partial

__all__ = ["Weights", "unwrap"]

_SETTING = 4096


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The result of ``unwrap``: the fields of ``Checkpoint`` with the same names."""

    tensors: Tensors
    weights_key: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    module: Any = None
    notes: tuple[str, ...] = ()
    not_executed: tuple[str, ...] = ()
    sets: Mapping[str, Tensors] = field(default_factory=dict)
    part: str = ""


def unwrap(root: Any, *, name: str, inert: tuple[str, ...] = (), choice: str | None = None) -> Weights:
    """Find the weights to export: averaged (EMA) ones if both kinds are there.

    Args:
        root: The object that the file holds.
        name: The file's name, for messages.
        inert: Globals of the file that were not run.
        choice: The key of the weights to take: a key of the file, dotted if nested, or the start of names
            in one state dict, which becomes ``Weights.part``.

    Raises:
        CheckpointError: there are no weights, or only a part of them (a shard, an adapter), or several
            between which only the user can choose.
        UnsafeCheckpointError: there are none without running the file's code.
    """
    finder = Finder()
    found = finder.locate(root)
    if found is None:
        raise nothing_found(root, name, inert)
    entries = entries_of(root) if isinstance(root, Mapping | InertObject) and not is_module(root) else {}
    sets = finder.sets(root)
    part = ""
    if choice is None:
        _ask(found, entries, name)
    else:
        found, part = _chosen(finder, root, found, choice, sets)
    refuse_partial(found.tensors, entries, name)
    return Weights(
        tensors=found.tensors,
        weights_key=found.key,
        meta=_meta(root, finder, bare=not found.key),
        module=found.module,
        notes=tuple(map(said, found.notes)),
        sets={**{key: one.tensors for key, one in sets.items()}, **found.others, found.key: found.tensors},
        part=part,
    )


def _ask(found: Found, entries: Mapping[str, Any], name: str) -> None:
    """Refuse weights if only the user can say which ones are meant.

    Raises:
        CheckpointError: see ``Found.question``.
    """
    question = found.question or mmcv_question(found, entries)
    if question:
        keys = (found.key or ".", next(iter(found.others), ""))
        if found.question:
            keys = (found.key, f"{found.key.removesuffix('state_dict')}ema_state_dict")
        raise CheckpointError(
            f"{name}: it does not say which of its weights are meant. {said(question)}",
            hint=f"Say which: {said(option(keys[0]))} or {said(option(keys[1]))}",
        )


def _chosen(
    finder: Finder, root: Any, found: Found, choice: str, sets: Mapping[str, Found]
) -> tuple[Found, str]:
    """The weights under a key of the file; or those of a state dict, with the start of names in it."""
    whole = f"Took the weights under {choice!r}, as --weights says."
    for key, tensors in found.others.items():
        if choice == key or key.endswith(f".{choice}"):
            return replace(found, tensors=tensors, key=key, notes=(whole,), question=""), ""
    if choice in sets:
        return replace(_completed(sets[choice], found), notes=(whole,), question=""), ""
    if (at := finder.at(root, choice)) is not None:
        return replace(_completed(at, found), notes=(whole,), question=""), ""
    keys = choice.split(".")
    if any(name.startswith(f"{choice}.") for name in found.tensors):
        return replace(found, notes=(), question=""), choice
    for length in range(len(keys) - 1, 0, -1):
        inside = finder.at(root, ".".join(keys[:length]))
        rest = ".".join(keys[length:])
        if inside is not None and any(name.startswith(f"{rest}.") for name in inside.tensors):
            return replace(inside, notes=(), question=""), rest
    return replace(found, notes=(), question=""), choice


def _completed(chosen: Found, found: Found) -> Found:
    """The weights completed with the BatchNorm statistics of the other weights, if they have none."""
    missing = found.tensors.keys() - chosen.tensors.keys()
    if not missing or not all(name.endswith(STATISTICS) for name in missing):
        return chosen
    return replace(
        chosen, tensors={**{name: found.tensors[name] for name in found.tensors}, **chosen.tensors}
    )


def _meta(root: Any, finder: Finder, *, bare: bool) -> dict[str, Any]:
    """Everything in the file except weights and training state; small tensors next to them as numbers."""
    if is_module(root) or not isinstance(root, Mapping | InertObject):
        return {}
    return {
        key: value.tolist() if isinstance(value, torch.Tensor) else value
        for key, value in entries_of(root).items()
        if not TRAINING_STATE.search(key)
        and not (isinstance(value, torch.Tensor) and (bare or not _is_setting(value)))
        and not (key == "callbacks" and isinstance(value, Mapping))
        and finder.locate(value, 1) is None
    }


def _is_setting(tensor: torch.Tensor) -> bool:
    """Whether a tensor next to the weights may be a temperature, a mean, or similar."""
    return tensor.is_floating_point() and tensor.numel() <= _SETTING and not tensor.is_quantized
