"""Where in a file's objects the weights are, and what else it tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from deploykit_runtimes.errors import CheckpointError, OptionError, UnsafeCheckpointError

from deploykit_exporters.containers.inert import (
    InertObject,
    children,
    class_path,
    is_module,
    state_dict_of,
)
from deploykit_exporters.containers.names import prefix_views, strip_wrappers

__all__ = ["Weights", "prefix_views", "unwrap"]

_EMA_KEYS = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "ema_model",
    "ema",
    "ema_weights",
    "params_ema",
    "teacher",
)
_RAW_KEYS = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "student",
)
_TRAINING_STATE = re.compile(r"optim|scheduler|scaler|^amp$|^loops$|^averaging_state$|rng|random_state", re.I)
_STATISTICS = re.compile(r"(running_mean|running_var|num_batches_tracked)$")
_ADAPTER = re.compile(r"\.(lora_|hada_|adapter_)|lora_(A|B|up|down)\b")
_MAX_NESTING = 4
_CONFIGURATION = 1 << 20
_FEWEST = 8
"""Tensors of which a network has more; blocks and layers of one have fewer names in common with another."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What ``unwrap`` found; the fields of ``Checkpoint`` of the same names."""

    tensors: dict[str, torch.Tensor]
    weights_key: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    module: Any = None
    notes: tuple[str, ...] = ()
    not_executed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    tensors: dict[str, torch.Tensor]
    key: str = ""
    module: Any = None
    notes: tuple[str, ...] = ()

    def under(self, key: str) -> _Found:
        """The same, found one level further down."""
        return replace(self, key=f"{key}.{self.key}" if self.key else key)

    def noting(self, *notes: str) -> _Found:
        return replace(self, notes=(*self.notes, *notes))


def unwrap(root: Any, *, name: str, inert: tuple[str, ...] = (), choice: str | None = None) -> Weights:
    """Find the weights to export: averaged (EMA) ones where both are there.

    Args:
        root: The object that the file holds.
        name: The file's name, for messages.
        inert: Globals of the file that were not run.
        choice: The key of the weights to take: one of the file, or the start of names in one state dict.

    Raises:
        OptionError: there are no weights under ``choice``.
        CheckpointError: there are no weights, or only a part of them (a shard, an adapter).
        UnsafeCheckpointError: there are none without running the file's code.
    """
    finder = _Finder()
    found = finder.locate(root)
    if found is None:
        raise _nothing_found(root, name, inert)
    if choice is not None:
        found = _chosen(finder, root, found, choice, name)
    else:
        found = found.noting(*_twins(found.tensors))
    _refuse_partial(found.tensors, _entries(root), name)
    return Weights(
        tensors=found.tensors,
        weights_key=found.key,
        meta=_meta(root, finder),
        module=found.module,
        notes=found.notes,
    )


class _Finder:
    """The search through nested objects; each object is looked at once."""

    def __init__(self) -> None:
        self.seen: dict[int, _Found | None] = {}

    def locate(self, value: Any, nesting: int = 0) -> _Found | None:
        """The weights inside ``value``, or None."""
        if not isinstance(value, Mapping | InertObject) and not is_module(value):
            return None
        if id(value) not in self.seen:
            self.seen[id(value)] = None  # an object inside itself holds nothing new
            found = self._locate(value, nesting)
            self.seen[id(value)] = found if found is not None and found.tensors else None
        return self.seen[id(value)]

    def _locate(self, value: Any, nesting: int) -> _Found | None:
        if is_module(value):
            module = _innermost(value)
            return _Found(strip_wrappers(state_dict_of(module)), module=module)
        if nesting > _MAX_NESTING:
            return None
        entries = _entries(value)
        if (named := self._named(entries, nesting)) is not None:
            return named
        bare, parts = _bare(entries), self._parts(entries, nesting)
        return parts if len(parts.tensors) > len(bare.tensors) else bare

    def _named(self, entries: Mapping[str, Any], nesting: int) -> _Found | None:
        """Weights under the usual keys."""
        raw = self._first(entries, _RAW_KEYS, nesting)
        averaged = self._first(entries, _EMA_KEYS, nesting) or self._callback(entries, nesting)
        if raw is None or averaged is None:
            return raw or averaged
        if _is_mmengine(entries):
            # mmengine's EMAHook swaps the two when it saves, so that 'state_dict' is the averaged one.
            return raw.noting(
                f"mmengine keeps the EMA weights in {raw.key!r}: took those; "
                f"--weights {averaged.key} takes the raw ones."
            )
        return _prefer_averaged(averaged, raw)

    def _first(self, entries: Mapping[str, Any], keys: tuple[str, ...], nesting: int) -> _Found | None:
        for key in keys:
            if (found := self.locate(entries.get(key), nesting + 1)) is not None:
                return found.under(key)
        return None

    def at(self, root: Any, key: str) -> _Found | None:
        """The weights at a key that ``_Found.key`` has: ``state_dict``, ``callbacks.EMA.ema_weights``."""
        entries = _entries(root) if isinstance(root, Mapping | InertObject) else {}
        if key in entries:
            return self.locate(entries[key], 1)
        for name, value in entries.items():
            if key.startswith(f"{name}."):
                return self.at(value, key.removeprefix(f"{name}."))
        return None

    def _callback(self, entries: Mapping[str, Any], nesting: int) -> _Found | None:
        """EMA weights that a Lightning callback keeps in its own state."""
        callbacks = entries.get("callbacks")
        for name, state in callbacks.items() if isinstance(callbacks, Mapping) else ():
            if (found := self._first(_entries(state), _EMA_KEYS, nesting + 1)) is not None:
                return found.under(f"callbacks.{name}")
        return None

    def _parts(self, entries: Mapping[str, Any], nesting: int) -> _Found:
        """Weights under unusual keys: alone, or as named parts of one network (``encoder``, ``head``)."""
        parts = {
            key: found
            for key, value in entries.items()
            if not _TRAINING_STATE.search(key) and (found := self.locate(value, nesting + 1)) is not None
        }
        if len(parts) == 1:
            ((key, found),) = parts.items()
            return found.under(key).noting(f"Took the weights under {key!r}.")
        joined = ", ".join(map(repr, parts))
        return _Found(
            {
                f"{key}.{name}": tensor
                for key, found in parts.items()
                for name, tensor in found.tensors.items()
            },
            notes=(f"Joined the weights under {joined} into one network.",),
        )


def _is_mmengine(entries: Mapping[str, Any]) -> bool:
    """Whether mmengine's Runner saved the file: by its message hub, its version, its configuration, or the
    counter in its averaged weights."""
    meta = _entries(entries.get("meta"))
    averaged = entries.get("ema_state_dict")
    return (
        "message_hub" in entries
        or "mmengine_version" in meta
        or "EMAHook" in str(meta.get("cfg", ""))[:_CONFIGURATION]
        or (isinstance(averaged, Mapping) and "steps" in averaged)
    )


def _chosen(finder: _Finder, root: Any, found: _Found, choice: str, name: str) -> _Found:
    """The weights under a key of the file, or those of a state dict whose names start with it.

    Raises:
        OptionError: there are none.
    """
    entries = _entries(root) if isinstance(root, Mapping | InertObject) else {}
    if (at := finder.at(root, choice)) is not None:
        return at.under(choice).noting(f"Took the weights under {choice!r}, as --weights says.")
    start = f"{choice}."
    tensors = {key: tensor for key, tensor in found.tensors.items() if key.startswith(start)}
    if tensors:
        return replace(found, tensors=tensors).noting(f"Took the weights under {start!r}, as --weights says.")
    keys = [key for key, value in entries.items() if finder.locate(value, 1) is not None]
    keys += dict.fromkeys(key.partition(".")[0] for key in found.tensors if "." in key)
    raise OptionError(
        f"--weights {choice}: {name} has no weights there.",
        hint=f"It has weights under {', '.join(keys[:8])}." if keys else "Leave --weights out.",
    )


def _twins(tensors: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """That one state dict holds several networks of the same names and shapes, in a sentence."""
    groups: dict[str, set[tuple[str, torch.Size]]] = {}
    for key, tensor in tensors.items():
        start, _, rest = key.partition(".")
        groups.setdefault(start, set()).add((rest, tensor.shape))
    for one, names in groups.items():
        same = [other for other, theirs in groups.items() if theirs == names and len(names) > _FEWEST]
        if len(same) > 1:
            return (
                f"{', '.join(map(repr, same))} are copies of one network; --weights {one} (or another of "
                "them) says which to take, averaged ones are taken first.",
            )
    return ()


def _bare(entries: Mapping[str, Any]) -> _Found:
    """Tensors beside each other: a state dict."""
    tensors = {name: value.detach() for name, value in entries.items() if isinstance(value, torch.Tensor)}
    return _Found(strip_wrappers(tensors))


def _prefer_averaged(averaged: _Found, raw: _Found) -> _Found:
    """The averaged weights, unless they are those of another network or of a part of it."""
    missing = raw.tensors.keys() - averaged.tensors.keys()
    misfit = any(
        name in raw.tensors and raw.tensors[name].shape != tensor.shape
        for name, tensor in averaged.tensors.items()
    )
    if misfit or not all(_STATISTICS.search(name) for name in missing):
        return raw.noting(f"Took {raw.key!r}: {averaged.key!r} does not hold the same tensors.")
    taken = averaged.noting(
        f"Took the EMA weights ({averaged.key!r}); the file also holds {raw.key!r}: "
        f"--weights {raw.key} takes those."
    )
    if not missing:
        return taken
    tensors = {name: averaged.tensors.get(name, tensor) for name, tensor in raw.tensors.items()}
    return replace(taken, tensors=tensors).noting(
        f"{len(missing)} BatchNorm statistics that are not averaged come from {raw.key!r}."
    )


def _entries(value: Any) -> dict[str, Any]:
    """The entries of a dictionary, or the attributes of an inert object that is none."""
    source = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    return {key: entry for key, entry in source.items() if isinstance(key, str)}


def _innermost(module: Any) -> Any:
    """The module inside DataParallel, DistributedDataParallel, ``torch.compile`` or AveragedModel."""
    for _ in range(_MAX_NESTING):
        inner = children(module)
        wrapped = inner.get("module", inner.get("_orig_mod"))
        if wrapped is None or len(inner) > 1:
            break
        module = wrapped
    return module


def _meta(root: Any, finder: _Finder) -> dict[str, Any]:
    """Everything of the file but weights and the state of training."""
    if is_module(root) or not isinstance(root, Mapping | InertObject):
        return {}
    return {
        key: value
        for key, value in _entries(root).items()
        if not _TRAINING_STATE.search(key)
        and not isinstance(value, torch.Tensor)
        and not (key == "callbacks" and isinstance(value, Mapping))
        and finder.locate(value, 1) is None
    }


def _refuse_partial(tensors: Mapping[str, torch.Tensor], entries: Mapping[str, Any], name: str) -> None:
    if any("flat_param" in key for key in tensors):
        raise _sharded(name, "FSDP", "FullStateDictConfig (state_dict_type FULL_STATE_DICT)")
    empty = sum(tensor.numel() == 0 for tensor in tensors.values())
    parallel = entries.get("mp_world_size")
    if empty > len(tensors) / 2 or (isinstance(parallel, int) and parallel > 1):
        raise _sharded(name, "DeepSpeed", "DeepSpeed's zero_to_fp32.py")
    adapters = [key for key in tensors if _ADAPTER.search(key)]
    if adapters:
        raise CheckpointError(
            f"{name}: wanted the weights of a whole model, found an adapter that is not merged "
            f"({len(adapters)} tensors such as {adapters[0]}).",
            hint="Merge it into its base model first (PEFT: model.merge_and_unload()) and save that.",
        )


def _sharded(name: str, system: str, remedy: str) -> CheckpointError:
    return CheckpointError(
        f"{name}: wanted the weights of a whole model, found one shard written by {system}.",
        hint=f"Gather the shards into one file first, with {remedy}.",
    )


def _nothing_found(root: Any, name: str, inert: tuple[str, ...]) -> CheckpointError:
    entries = _entries(root) if isinstance(root, Mapping | InertObject) else {}
    if any(path.startswith("torch.distributed.") for path in inert):
        return _sharded(
            name, "torch.distributed", "torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
        )
    if any(key.startswith(("ds_", "zero_")) for key in entries):
        return _sharded(name, "DeepSpeed", "DeepSpeed's zero_to_fp32.py")
    if {"state", "param_groups"} <= entries.keys() or any("optim" in key.lower() for key in entries):
        return CheckpointError(
            f"{name}: wanted the weights of a model, found only the state of an optimiser.",
            hint="Give the checkpoint that training saved for the model.",
        )
    if inert:
        listed = ", ".join(inert[:8]) + (", ..." if len(inert) > 8 else "")
        return UnsafeCheckpointError(
            f"{name}: no weights can be had without running code that the file names: {listed}.",
            hint="Save the model's state_dict() instead, or give --trust if you trust the file's author.",
        )
    holds = ", ".join(map(repr, list(entries)[:10])) or class_path(root)
    return CheckpointError(
        f"{name}: wanted the weights of a model, found none in what it holds ({holds}).",
        hint="Save it with torch.save(model.state_dict(), path).",
    )
