"""Which weights are the averaged ones if a file holds both, for each training code that writes both.

mmengine     hooks/ema_hook.py (EMAHook) swaps on saving: ``state_dict`` holds the average, ``ema_state_dict``
             the raw weights, and a counter, ``steps``.
Lightning    callbacks/weight_averaging.py puts the average into ``state_dict`` and the raw weights into
             ``current_model_state``.
torch        AveragedModel has its average under ``module.`` and a counter, ``n_averaged``.
ema-pytorch  has its average under ``ema_model.``, and the raw weights once more under ``online_model.``.
torch-ema, diffusers and score_sde keep a list without names, ``shadow_params``, in the order of
             ``parameters()``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from deploykit_exporters.containers.weights.found import (
    STATISTICS,
    Found,
    covers,
    entries_of,
    equal,
    option,
    quoted,
)

__all__ = [
    "AVERAGED",
    "averaged_copy",
    "is_averaged",
    "is_untouched",
    "listed",
    "of_lightning",
    "prefer",
    "swapped_by_lightning",
    "without_names",
]

AVERAGED = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "ema_model",
    "ema",
    "ema_weights",
    "params_ema",
    "ema_state",
    "teacher",
)
_WORDS = re.compile(r"(^|[_.])(ema|swa|averaged?|avg|shadow|polyak|teacher)(?=$|[_.])", re.I)
# torch's AveragedModel, torch-ema and LitEma, diffusers.
_COUNTERS = ("n_averaged", "num_updates", "optimization_step")
_CONFIGURATION = 1 << 20


def is_averaged(name: str) -> bool:
    """Whether a name, or one part of a dotted name, says that something is an average: ``model_ema``."""
    return _WORDS.search(name) is not None


def is_untouched(value: Any, *names: str) -> bool:
    """Whether an average says that nothing was averaged yet: it then holds its initial weights, often those
    from before the training.
    """
    entries = entries_of(value)
    for name in names or _COUNTERS:
        count = entries.get(name, getattr(value, name, None))
        if isinstance(count, torch.Tensor) and count.numel() == 1:
            count = count.item()
        if isinstance(count, int | float) and not isinstance(count, bool) and count == 0:
            return True
    return False


def listed(key: str) -> bool:
    """Whether a key that no known code uses says that its weights are an average."""
    return is_averaged(key) and key not in AVERAGED


def prefer(averaged: Found, raw: Found, entries: Mapping[str, Any]) -> Found:
    """The averaged weights, unless they belong to another network or to a part of it.

    Args:
        averaged: The weights whose key calls them an average.
        raw: The weights under a usual key.
        entries: The dictionary that holds both.
    """
    one, other = quoted(raw.key), quoted(averaged.key)
    ambiguous = (raw.key, averaged.key) == ("state_dict", "ema_state_dict")
    if ambiguous and _is_mmengine(entries):
        return raw.noting(
            f"mmengine keeps the EMA weights in {quoted(raw.key)}: took those; "
            f"{option(averaged.key)} takes the raw ones."
        )
    if not covers(averaged.tensors, raw.tensors):
        return raw.noting(f"Took {one}: {other} does not hold the same tensors.")
    if any(is_untouched(entries.get(key)) for key in (averaged.key, averaged.key.partition(".")[0])):
        return _unused(raw, averaged.key)
    if ambiguous:
        return _ambiguous(averaged, raw, entries)
    return _taken(averaged, raw)


def _ambiguous(averaged: Found, raw: Found, entries: Mapping[str, Any]) -> Found:
    """``state_dict`` and ``ema_state_dict`` without signs of mmengine."""
    one, other = quoted(raw.key), quoted(averaged.key)
    if equal(averaged.tensors, raw.tensors):
        return raw.noting(f"{one} and {other} hold the same values.")
    if "n_averaged" in entries_of(entries.get(averaged.key)):
        return _taken(averaged, raw)
    return replace(
        raw,
        question=f"It holds {one} and {other}, and does not say who wrote them: mmengine keeps the averaged "
        f"weights in {one}, others in {other}.",
    )


def _taken(averaged: Found, raw: Found) -> Found:
    """The average, completed with the raw weights that it does not average."""
    taken = averaged.noting(
        f"Took the EMA weights ({quoted(averaged.key)}); the file also holds {quoted(raw.key)}: "
        f"{option(raw.key)} takes those."
    )
    missing = raw.tensors.keys() - averaged.tensors.keys()
    if not missing:
        return taken
    tensors = {name: averaged.tensors.get(name, tensor) for name, tensor in raw.tensors.items()}
    return replace(taken, tensors=tensors).noting(
        f"{len(missing)} BatchNorm statistics that are not averaged come from {quoted(raw.key)}."
    )


def averaged_copy(averaged: Found, raw: Found) -> Found:
    """The average inside the state of an averaging module: ``ema_model.*`` next to ``online_model.*``."""
    if covers(averaged.tensors, raw.tensors):
        return averaged
    starts = dict.fromkeys(name.partition(".")[0] for name in averaged.tensors if "." in name)
    for start in sorted(starts, key=lambda start: not is_averaged(start)):
        inside = {
            name.removeprefix(f"{start}."): tensor
            for name, tensor in averaged.tensors.items()
            if name.startswith(f"{start}.")
        }
        if covers(inside, raw.tensors):
            return replace(averaged, tensors=inside, key=f"{averaged.key}.{start}", module=None)
    return averaged


def swapped_by_lightning(raw: Found, entries: Mapping[str, Any]) -> bool:
    """Whether Lightning's WeightAveraging wrote the file."""
    return raw.key == "state_dict" and {"current_model_state", "averaging_state"} <= entries.keys()


def of_lightning(raw: Found, current: Found, entries: Mapping[str, Any]) -> Found:
    """The average of Lightning's WeightAveraging, if it has one."""
    if is_untouched(entries.get("averaging_state")):
        return _unused(current, raw.key)
    return raw.noting(
        f"Lightning's WeightAveraging keeps the averaged weights in {quoted(raw.key)}: took those; "
        f"{option(current.key)} takes the raw ones."
    )


def _unused(raw: Found, average: str) -> Found:
    note = f"Took {quoted(raw.key)}: the average under {quoted(average)} was never updated; "
    return raw.noting(f"{note}{option(average)} takes it.")


def without_names(raw: Found, entries: Mapping[str, Any]) -> Found:
    """The average that is kept as a list of tensors in the order of the parameters; or the raw weights,
    with a note if such a list does not fit them one to one.
    """
    for key, value in entries.items():
        for path, tensors in ((key, value), (f"{key}.shadow_params", entries_of(value).get("shadow_params"))):
            if is_averaged(path) and _is_list(tensors):
                found = _named_by(raw, path, tensors)
                return replace(_unused(raw, path), others=found.others) if is_untouched(value) else found
    return raw


def _is_list(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(one, torch.Tensor) for one in value)
    )


def _named_by(raw: Found, path: str, values: Any) -> Found:
    names = [name for name in raw.tensors if not name.endswith(STATISTICS)]
    shapes = [raw.tensors[name].shape for name in names]
    if shapes != [value.shape for value in values]:
        return raw.noting(
            f"Took {quoted(raw.key)}. {quoted(path)} holds averaged weights without names, which do not fit "
            "its parameters one to one: they are left out."
        )
    averaged = Found({**raw.tensors, **dict(zip(names, values, strict=True))}, key=path)
    return replace(
        averaged.noting(
            f"Took the averaged weights ({quoted(path)}), which have no names, in the order of those in "
            f"{quoted(raw.key)}: {option(raw.key)} takes the raw ones."
        ),
        others={path: averaged.tensors},
    )


def _is_mmengine(entries: Mapping[str, Any]) -> bool:
    """Whether mmengine's Runner saved the file: shown by its message hub, its version, its configuration,
    or the counter in its averaged weights.
    """
    meta = entries_of(entries.get("meta"))
    averaged = entries.get("ema_state_dict")
    return (
        "message_hub" in entries
        or "mmengine_version" in meta
        or "EMAHook" in str(meta.get("cfg", ""))[:_CONFIGURATION]
        or (isinstance(averaged, Mapping) and "steps" in averaged)
    )
