"""Averaged copies that lie in the same state dict as the weights, under names without dots.

mmcv 1   runner/hooks/ema.py (EMAHook) keeps a buffer ``ema_a_b`` beside each parameter ``a.b`` and swaps them
         after each epoch, before the file is written; a runner by iterations never swaps.
LitEma   ldm/modules/ema.py of latent-diffusion keeps a buffer ``model_ema.ab`` for each ``model.a.b``, beside
         ``model_ema.decay`` and ``model_ema.num_updates``, and does not swap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploykit_exporters.containers.found import Found, Tensors, entries_of, equal

__all__ = ["mmcv_question", "with_copies"]

_CONFIGURATION = 1 << 20
_MMCV = "ema_"
_BY_ITERATIONS = re.compile(r"IterBasedRunner|by_epoch\s*=\s*False")
_COUNTER = ".num_updates"


def with_copies(found: Found, tensors: Tensors) -> Found:
    """The averaged ones of a state dict, with the raw ones under ``Found.others``.

    Args:
        found: Its weights under their cleaned names, without mmcv's copies.
        tensors: All of it.
    """
    counters = [name.removesuffix(_COUNTER) for name in found.tensors if name.endswith(_COUNTER)]
    wrappers = [name for name in counters if f"{name}.decay" in found.tensors]
    return _lit_ema(found, wrappers[0]) if len(wrappers) == 1 else _mmcv(found, tensors)


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
            "mmcv keeps the EMA weights under the plain names once an epoch has ended: took those; "
            f"--weights {_MMCV} takes the {len(kept)} tensors {_MMCV}*."
        ),
        others={_MMCV: swapped},
    )


def _lit_ema(found: Found, wrapper: str) -> Found:
    start = f"{wrapper}."
    flat = {
        name.removeprefix(start): value for name, value in found.tensors.items() if name.startswith(start)
    }
    del flat["decay"], flat[_COUNTER[1:]]
    raw = {name: value for name, value in found.tensors.items() if not name.startswith(start)}
    for parent in ("", *dict.fromkeys(f"{name.partition('.')[0]}." for name in raw if "." in name)):
        names = {name.removeprefix(parent).replace(".", ""): name for name in raw if name.startswith(parent)}
        fits = (name in names and raw[names[name]].shape == value.shape for name, value in flat.items())
        if flat and all(fits):
            averaged = {**raw, **{names[name]: value for name, value in flat.items()}}
            key = parent.removesuffix(".") or "raw"
            note = f"Took the EMA weights ({wrapper!r}); --weights {key} takes the raw ones."
            return replace(found.noting(note), tensors=averaged, others={key: raw, wrapper: averaged})
    return found


def mmcv_question(found: Found, entries: Mapping[str, Any]) -> str:
    """Why it is not known which weights are averaged, where mmcv 1 trained by iterations; else empty."""
    config = str(entries_of(entries.get("meta")).get("config", ""))[:_CONFIGURATION]
    if not any(key.rpartition(".")[2] == _MMCV for key in found.others) or not _BY_ITERATIONS.search(config):
        return ""
    return (
        f"It holds tensors {_MMCV}* of mmcv's EMAHook, and was trained or saved by iterations: mmcv swaps "
        "the averaged and the raw weights after epochs only."
    )
