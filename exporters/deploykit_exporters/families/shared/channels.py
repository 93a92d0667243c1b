"""Pre-processing for networks whose images have a number of channels other than three.

What training codes do with such images: timm reads 1 channel with Pillow's mode L; Ultralytics reads 1
channel with OpenCV's IMREAD_GRAYSCALE and any other number as stored in the file. Otherwise the user's
program decides; the assumption made here is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploykit_runtimes.contract.spec import Color, ModelSpec, Preprocess
from deploykit_runtimes.errors import OptionError

__all__ = ["for_channels"]


def for_channels(spec: ModelSpec, config: Mapping[str, Any] | None = None) -> ModelSpec:
    """The contract with the pre-processing for as many channels as its input has, and the assumptions made.

    Args:
        spec: The spec of any model; one with three channels is returned unchanged.
        config: The user's settings: ``mean`` and ``std`` of pixels in 0..1.

    Raises:
        OptionError: they have the wrong number of values.
    """
    channels, how = spec.input.channels, spec.preprocess
    if channels == 3:
        return spec
    color: Color = "grey" if channels == 1 else "as_is"
    mean, std = ((config or {}).get(name) for name in ("mean", "std"))
    if mean:
        how = replace(how, mean=_given("mean", mean, channels, how.scale))
    if std:
        how = replace(how, std=_given("std", std, channels, how.scale))
    fitted = replace(how, color=color, mean=_spread(how.mean, channels), std=_spread(how.std, channels))
    said = _said(fitted)
    # Ultralytics has one way to read such images; with timm and all others it is the user's choice.
    known = (said,) if spec.origin == "ultralytics" and spec.task != "classify" else ()
    assumed = [] if known else [said]
    if not (_covers_channels(how.mean, channels) and _covers_channels(how.std, channels)):
        average, spread = (f"{values[0]:.4g}" for values in (fitted.mean, fitted.std))
        values = "1 value" if channels == 1 else f"{channels} values"
        assumed.append(
            f"Mean {average} and std {spread} for every channel: the averages of those for red, green and "
            f"blue (others: --config with mean and std, {values} each)."
        )
    return replace(
        spec,
        preprocess=fitted,
        recognised=(*spec.recognised, *known),
        assumed=(*spec.assumed, *assumed),
    )


def _given(name: str, values: Any, channels: int, scale: float) -> tuple[float, ...]:
    numbers = values if isinstance(values, list | tuple) else [values]
    if len(numbers) not in (1, channels) or not all(isinstance(one, int | float) for one in numbers):
        raise OptionError(
            f"--config gives {name} {values}; the model has {channels} channel{'s' if channels > 1 else ''}.",
            hint="Give one value for each, or one for all.",
        )
    return tuple(one * 255 * scale for one in numbers)


def _said(how: Preprocess) -> str:
    if how.color == "grey":
        name = "Pillow's mode L" if how.resampler == "pillow" else "OpenCV's IMREAD_GRAYSCALE"
        return f"Images are grey, converted as {name} does."
    return f"Images have {len(how.mean)} channels in the order of the array or file, each resized separately."


def _covers_channels(values: tuple[float, ...], channels: int) -> bool:
    return len(values) == channels or len(set(values)) == 1


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return values
    value = values[0] if len(set(values)) == 1 else sum(values) / len(values)
    return (value,) * channels
