"""Which settings in --config would be honoured for a checkpoint, in its origin's terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from deploykit_runtimes.contract.spec import Preprocess
from deploykit_runtimes.errors import DeploykitError

from deploykit_exporters.families.base import BuiltModel
from deploykit_exporters.load import LoadedCheckpoint

__all__ = ["honoured", "in_words_of"]

_TRANSFORMERS = {"num_heads": "num_attention_heads", "eps": "layer_norm_eps", "activation": "hidden_act"}
_TRANSFORMERS_ACTIVATIONS = {"gelu_tanh": "gelu_pytorch_tanh"}
_CLOSE = 1e-3


def in_words_of(origin: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the configuration of an origin names them; deploykit's own words are timm's."""
    if origin != "transformers":
        return dict(config)
    return {
        _TRANSFORMERS.get(key, key): _TRANSFORMERS_ACTIVATIONS.get(value, value)
        if isinstance(value, str)
        else value
        for key, value in config.items()
    }


def honoured(loaded: LoadedCheckpoint, config: Mapping[str, Any], images: np.ndarray) -> dict[str, Any]:
    """Those of some settings that change the network or its pre-processing as they say.

    Args:
        loaded: The checkpoint.
        config: The settings.
        images: What the network takes, float32 [N, C, H, W].
    """
    built = loaded.built
    if (other := _with(loaded, config)) is None:
        known = {key: value for key, value in config.items() if _with(loaded, {key: value}) is not None}
        return honoured(loaded, known, images) if 0 < len(known) < len(config) else {}
    try:
        with torch.no_grad():
            ours, theirs = (_outputs(one.module.eval(), images) for one in (built, other))
    except RuntimeError:
        return {}
    same = len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))
    old, new = built.spec.preprocess, other.spec.preprocess
    return {
        key: value
        for key, value in config.items()
        if (_takes(key, value, old, new) if key in _PIXELS else not same)
    }


_PIXELS = ("mean", "std", "interpolation", "crop_pct", "crop_mode")


def _with(loaded: LoadedCheckpoint, config: Mapping[str, Any]) -> BuiltModel | None:
    """The model with settings over the user's own; None where they are refused."""
    try:
        return loaded.again(config={**(loaded.hints.config or {}), **config})
    except DeploykitError:
        return None


def _takes(key: str, value: Any, old: Preprocess, new: Preprocess) -> bool:
    if key in ("mean", "std"):
        unit = 1 / 255 / new.scale
        return bool(np.allclose(np.asarray(getattr(new, key)) * unit, value, atol=_CLOSE))
    if key == "interpolation":
        return bool(new.interpolation == value)
    return (old.resize, old.resize_to, old.crop) != (new.resize, new.resize_to, new.crop)


def _outputs(module: torch.nn.Module, images: np.ndarray) -> tuple[torch.Tensor, ...]:
    found = module(torch.from_numpy(images))
    return (found,) if isinstance(found, torch.Tensor) else tuple(found)
