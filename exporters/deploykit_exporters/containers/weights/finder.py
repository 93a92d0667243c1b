"""The search for weights in the objects of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from deploykit_exporters.containers.pickles.inert import (
    InertObject,
    children,
    class_path,
    is_module,
    state_dict_of,
)
from deploykit_exporters.containers.weights.averages import (
    AVERAGED,
    averaged_copy,
    is_averaged,
    is_untouched,
    listed,
    of_lightning,
    prefer,
    swapped_by_lightning,
    without_names,
)
from deploykit_exporters.containers.weights.flattened import with_copies, without_unused
from deploykit_exporters.containers.weights.found import Found, copies, entries_of, option, quoted
from deploykit_exporters.containers.weights.names import strip_wrappers
from deploykit_exporters.containers.weights.parametrized import computed

__all__ = ["TRAINING_STATE", "Finder"]

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
TRAINING_STATE = re.compile(r"optim|scheduler|scaler|^amp$|^loops$|^averaging_state$|rng|random_state", re.I)
# Of numbers beside the weights, most are records of the training; these could act on the scores.
_SCALING = re.compile(r"temp|scale|bias|thresh|calib|platt|logit|prior", re.I)
_COMPILED = "torch._dynamo.eval_frame.OptimizedModule"
_MAX_NESTING = 4


class Finder:
    """The search through nested objects, which visits each object once."""

    def __init__(self) -> None:
        self.seen: dict[int, Found | None] = {}

    def locate(self, value: Any, nesting: int = 0) -> Found | None:
        """The weights inside ``value``, or None."""
        if not isinstance(value, Mapping | InertObject) and not is_module(value):
            return None
        if id(value) not in self.seen:
            self.seen[id(value)] = None  # an object inside itself holds nothing new
            found = self._locate(value, nesting)
            self.seen[id(value)] = found if found is not None and found.tensors else None
        return self.seen[id(value)]

    def at(self, root: Any, key: str) -> Found | None:
        """The weights at a key in the form of ``Found.key``: ``state_dict``,
        ``callbacks.EMA.ema_weights``.
        """
        entries = entries_of(root) if isinstance(root, Mapping | InertObject) else {}
        if key in entries:
            found = self.locate(entries[key], 1)
            return found and found.under(key)
        for name, value in entries.items():
            if key.startswith(f"{name}.") and (found := self.at(value, key.removeprefix(f"{name}."))):
                return found.under(name)
        return None

    def sets(self, root: Any) -> dict[str, Found]:
        """Every set of weights with its own key, and those of Lightning's callbacks."""
        if is_module(root) or not isinstance(root, Mapping | InertObject):
            return {}
        entries = entries_of(root)
        return {**self._beside(entries, 0), **self._callbacks(entries, 0)}

    def _locate(self, value: Any, nesting: int) -> Found | None:
        value = _uncompiled(value)
        if is_module(value):
            module = _innermost(value)
            return _with_note(_bare(state_dict_of(module), module), value)
        if nesting > _MAX_NESTING:
            return None
        entries = entries_of(value)
        if (named := self._named(entries, nesting)) is not None:
            return named
        bare, parts = _with_note(_bare(entries), entries), self._parts(entries, nesting)
        return parts if len(parts.tensors) > len(bare.tensors) else bare

    def _named(self, entries: Mapping[str, Any], nesting: int) -> Found | None:
        """Weights under the usual keys, and what must be reported about others next to them."""
        raw = self._first(entries, _RAW_KEYS, nesting)
        averaged = self._averaged(entries, raw, nesting)
        if raw is None:
            return averaged
        taken = raw if averaged is None else prefer(averaged, raw, entries)
        known = [raw.key, *([averaged.key] if averaged else [])]
        current = self.locate(entries.get("current_model_state"), nesting + 1)
        if averaged is None and current is not None and swapped_by_lightning(raw, entries):
            known.append("current_model_state")
            taken = of_lightning(raw, current.under("current_model_state"), entries)
        elif averaged is None:
            taken = without_names(raw, entries)
        beside = self._beside(entries, nesting) | self._callbacks(entries, nesting)
        others = {key: one for key, one in beside.items() if not _is_in(key, known)}
        return taken.noting(*_left_out(taken, others), *_lone(entries))

    def _first(self, entries: Mapping[str, Any], keys: tuple[str, ...], nesting: int) -> Found | None:
        for key in keys:
            if (found := self.locate(entries.get(key), nesting + 1)) is not None:
                return found.under(key)
        return None

    def _averaged(self, entries: Mapping[str, Any], raw: Found | None, nesting: int) -> Found | None:
        """Averaged weights: under one of the usual keys, in a callback of Lightning, under another key that
        says so, or in a list without names."""
        found = self._first(entries, AVERAGED, nesting)
        if found is not None:
            return found if raw is None else averaged_copy(found, raw)
        for name, state in _callback_states(entries):
            if (found := self._first(entries_of(state), AVERAGED, nesting + 1)) is not None:
                return found.under(f"callbacks.{name}")
        if raw is None:
            return None
        keys = tuple(key for key in entries if listed(key) and not TRAINING_STATE.search(key))
        return self._first(entries, keys, nesting)

    def _beside(self, entries: Mapping[str, Any], nesting: int) -> dict[str, Found]:
        """The weights of every entry, by their full keys."""
        found = {}
        for key, value in entries.items():
            skipped = TRAINING_STATE.search(key) or key in ("callbacks", "message_hub")
            if not skipped and (one := self.locate(value, nesting + 1)) is not None:
                found[one.under(key).key] = one.under(key)
        return found

    def _callbacks(self, entries: Mapping[str, Any], nesting: int) -> dict[str, Found]:
        """All weights that Lightning's callbacks keep in their own state."""
        found = {}
        for name, state in _callback_states(entries):
            for key, value in entries_of(state).items():
                if not TRAINING_STATE.search(key) and (one := self.locate(value, nesting + 2)) is not None:
                    one = one.under(key).under(f"callbacks.{name}")
                    found[one.key] = one
        return found

    def _parts(self, entries: Mapping[str, Any], nesting: int) -> Found:
        """Weights under unusual keys: alone, or as named parts of one network (``encoder``, ``head``)."""
        parts = {
            key: found
            for key, value in entries.items()
            if not TRAINING_STATE.search(key) and (found := self.locate(value, nesting + 1)) is not None
        }
        if len(parts) == 1:
            ((key, found),) = parts.items()
            return found.under(key).noting(f"Took the weights under {quoted(key)}.")
        return Found(
            {
                f"{key}.{name}": tensor
                for key, found in parts.items()
                for name, tensor in found.tensors.items()
            },
            notes=(f"Joined the weights under {_quoted(parts)} into one network.",),
        )


def _is_in(key: str, known: list[str]) -> bool:
    """Whether the weights at a key, or a part of them, are known."""
    return any(f"{name}.".startswith(f"{key}.") for name in known)


def _callback_states(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    callbacks = entries.get("callbacks")
    return list(callbacks.items()) if isinstance(callbacks, Mapping) else []


def _left_out(taken: Found, beside: Mapping[str, Found]) -> list[str]:
    """What is reported about other weights next to those that were taken."""
    notes = []
    for key, found in beside.items():
        if copies(found.tensors, taken.tensors):
            kind = "averaged" if is_averaged(key) else "other"
            notes.append(
                f"{quoted(key)} holds {kind} weights of the same network: {option(key)} takes those."
            )
    others = [key for key, found in beside.items() if not copies(found.tensors, taken.tensors)]
    if others:
        notes.append(f"Left out: the tensors under {_quoted(others[:5])}.")
    return notes


def _lone(entries: Mapping[str, Any]) -> list[str]:
    """What is reported about tensors next to the weights."""
    found = [
        key
        for key, value in entries.items()
        if isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and (value.ndim > 0 or _SCALING.search(key))
        and not TRAINING_STATE.search(key)
    ]
    return [f"Left out: the tensors {_quoted(found[:5])} beside the weights."] if found else []


def _quoted(keys: Iterable[str]) -> str:
    return ", ".join(map(quoted, keys))


def _bare(entries: Mapping[str, Any], module: Any = None) -> Found:
    """Tensors at the top of a dictionary: a state dict, or that of a module."""
    tensors = {name: value.detach() for name, value in entries.items() if isinstance(value, torch.Tensor)}
    used, unused = without_unused(tensors)
    whole, parts = computed(used)
    notes = tuple(filter(None, (unused, parts)))
    return with_copies(Found(strip_wrappers(whole), module=module, notes=notes), whole)


def _with_note(found: Found, value: Any) -> Found:
    """The weights, with a note if torch's AveragedModel never averaged anything."""
    if found.tensors and is_untouched(value, "n_averaged"):
        return found.noting("These are an average that was never updated, so they are its initial weights.")
    return found


def _uncompiled(value: Any) -> Any:
    """The module that ``torch.compile`` wrapped, which a pickle gives to the wrapper's constructor."""
    if isinstance(value, InertObject) and class_path(value) == _COMPILED and not is_module(value):
        return next(iter(value.inert_args), value)
    return value


def _innermost(module: Any) -> Any:
    """The module inside DataParallel, DistributedDataParallel, ``torch.compile`` or AveragedModel."""
    for _ in range(_MAX_NESTING):
        inner = children(module)
        wrapped = inner.get("module", inner.get("_orig_mod"))
        if wrapped is None or len(inner) > 1:
            break
        module = _uncompiled(wrapped)
    return module
