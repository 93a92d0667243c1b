"""Averaged copies in the same state dict as the weights, under names without dots.

mmcv 1   runner/hooks/ema.py (EMAHook) keeps a buffer ``ema_a_b`` for each parameter ``a.b``, and swaps the
         two when an epoch ends. A file saved after that has the average under the plain names; this is the
         case if the hook has a higher priority than the CheckpointHook (NORMAL, 50), as its documentation
         demands. IterBasedRunner never ends an epoch. LitEma   ldm/modules/ema.py of latent-diffusion keeps
         a buffer ``model_ema.ab`` for each ``model.a.b``, as well as ``model_ema.decay`` and
         ``model_ema.num_updates``, and does not swap.

torch's AveragedModel as a part of another module is left out if its counter says that it averaged nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from deploykit_exporters.containers.weights.found import Found, Tensors, entries_of, equal, option, quoted

__all__ = ["mmcv_question", "with_copies", "without_unused"]

_CONFIGURATION = 1 << 20
_MMCV = "ema_"
_BY_ITERATIONS = re.compile(r"IterBasedRunner|checkpoint_config\s*=\s*dict\([^)]*by_epoch\s*=\s*False")
_HOOK = re.compile(r"type\s*=\s*['\"]\w*EMA\w*Hook['\"][^)]*")
_EARLIER = re.compile(r"priority\s*=\s*(['\"](HIGHEST|VERY_HIGH|HIGH|ABOVE_NORMAL)['\"]|[1-4]?\d\b)")
_COUNTER = ".num_updates"


def with_copies(found: Found, tensors: Tensors) -> Found:
    """The averaged weights of a state dict, with the raw ones under ``Found.others``.

    Args:
        found: The weights under their cleaned names, without mmcv's copies.
        tensors: The whole state dict.
    """
    counters = [name.removesuffix(_COUNTER) for name in found.tensors if name.endswith(_COUNTER)]
    wrappers = [name for name in counters if f"{name}.decay" in found.tensors]
    return _lit_ema(found, wrappers[0]) if len(wrappers) == 1 else _mmcv(found, tensors)


def without_unused(tensors: Tensors) -> tuple[dict[str, torch.Tensor], str]:
    """A state dict without the parts of an AveragedModel that was never updated, and a note about it."""
    for name, counter in tensors.items():
        start = name.removesuffix("n_averaged")
        if not name.endswith(".n_averaged") or counter.numel() != 1 or counter.item() != 0:
            continue
        rest = {other: tensor for other, tensor in tensors.items() if not other.startswith(start)}
        if 2 * len(rest) >= len(tensors) - 1:  # there is another network than the average
            return rest, f"Left out: the average under {quoted(start[:-1])}, which was never updated."
    return dict(tensors), ""


def _mmcv(found: Found, tensors: Tensors) -> Found:
    clean = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    kept = {}
    for name, tensor in found.tensors.items():
        other = clean.get(f"{_MMCV}{name.replace('.', '_')}")
        if other is not None and other.shape == tensor.shape and "." in name:
            kept[name] = other
    swapped = {**found.tensors, **kept}
    if not kept or equal(swapped, found.tensors):
        return found
    return replace(
        found.noting(
            "mmcv's EMAHook puts the averaged weights under the plain names when an epoch ends: took those; "
            f"{option(_MMCV)} takes the {len(kept)} tensors {_MMCV}*."
        ),
        others={_MMCV: swapped},
    )


def _lit_ema(found: Found, wrapper: str) -> Found:
    start = f"{wrapper}."
    flat = {
        name.removeprefix(start): value for name, value in found.tensors.items() if name.startswith(start)
    }
    updates = flat.pop(_COUNTER[1:])
    del flat["decay"]
    raw = {name: value for name, value in found.tensors.items() if not name.startswith(start)}
    for parent in ("", *dict.fromkeys(f"{name.partition('.')[0]}." for name in raw if "." in name)):
        names = {name.removeprefix(parent).replace(".", ""): name for name in raw if name.startswith(parent)}
        fits = (name in names and raw[names[name]].shape == value.shape for name, value in flat.items())
        if flat and all(fits):
            averaged = {**raw, **{names[name]: value for name, value in flat.items()}}
            key = parent.removesuffix(".") or "raw"
            note = f"Took the EMA weights ({quoted(wrapper)}); {option(key)} takes the raw ones."
            others = {key: raw, wrapper: averaged}
            if updates.numel() == 1 and updates.item() == 0:
                note = f"The average under {quoted(wrapper)} was never updated: took the raw weights."
                return replace(found.noting(note), tensors=raw, others=others)
            return replace(found.noting(note), tensors=averaged, others=others)
    return found


def mmcv_question(found: Found, entries: Mapping[str, Any]) -> str:
    """Why it is unknown which weights of mmcv 1 are averaged; empty if its configuration says so, or if the
    file has none.
    """
    config = str(entries_of(entries.get("meta")).get("config", ""))[:_CONFIGURATION]
    hooks = _HOOK.findall(config)
    late = bool(hooks) and not any(map(_EARLIER.search, hooks))
    if not any(key.rpartition(".")[2] == _MMCV for key in found.others):
        return ""
    if not late and not _BY_ITERATIONS.search(config):
        return ""
    reason = "its EMAHook runs after the CheckpointHook" if late else "it was saved by iterations"
    return (
        f"mmcv's EMAHook swaps the plain tensors and {_MMCV}* when an epoch ends, and {reason}: the plain "
        "ones may be the raw weights."
    )
