"""Pre-processing given by the user with --config in timm's terms, on top of that of a file or an origin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deploykit_runtimes.contract.spec import Preprocess

from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.shared.imagenet import TIMM_SETTINGS, timm_preprocess

__all__ = ["usual_preprocess", "with_given"]


def with_given(
    how: Preprocess, size: tuple[int, int], hints: Hints, *, told: str, origin: str
) -> tuple[Preprocess, list[str]]:
    """Pre-processing for the current size, and what was assumed about it.

    Args:
        how: The file's own pre-processing, or the usual one of its origin.
        size: (height, width) of the network's input.
        hints: What the user said.
        told: Where the file gives it; empty if it does not.
        origin: The origin whose usual pre-processing it is.
    """
    config = hints.config or {}
    asked = [key for key in TIMM_SETTINGS if config.get(key) is not None]
    if asked:
        how = _override(how, timm_preprocess(size, config, _in_timm_words(how)), asked)
    if told or asked:
        return how, []
    return how, [usual_preprocess(how, origin)]


def usual_preprocess(how: Preprocess, origin: str) -> str:
    """The sentence that images are assumed to be prepared in the origin's usual way, with its description."""
    return f"Pre-processing is the usual one of {origin}: {_describe(how)}."


def _in_timm_words(how: Preprocess) -> dict[str, Any]:
    """Settings as timm names them: mean and std of pixels divided by 255."""
    unit = 1 / 255 / how.scale
    return {
        "mean": tuple(value * unit for value in how.mean),
        "std": tuple(value * unit for value in how.std),
        "interpolation": how.interpolation,
    }


def _override(own: Preprocess, given: Preprocess, asked: list[str]) -> Preprocess:
    """The user's normalisation and filter, and the user's geometry if any part of it was given."""
    if {"crop_pct", "crop_mode"} & set(asked):
        return replace(given, color=own.color)
    return replace(own, interpolation=given.interpolation, scale=given.scale, mean=given.mean, std=given.std)


def _describe(how: Preprocess) -> str:
    sides = "x".join(map(str, how.resize_to))
    resize = {"short": "short edge to", "stretch": "resize to", "cover": "scale to cover"}.get(how.resize)
    resize = f"{resize} {sides}" if resize else how.resize
    crop = f", centre crop {how.crop[0]}x{how.crop[1]}" if how.crop else ""
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (how.mean, how.std))
    return f"{resize} ({how.interpolation}){crop}, mean {mean}, std {std}"
