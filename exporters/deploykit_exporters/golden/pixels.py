"""Our pre-processing against what the user's own transform made of the same picture, and what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from deploykit_runtimes.contract.spec import AxisRange, Interpolation, ModelSpec, Preprocess
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.pixels.preprocess import preprocess
from PIL import Image

from deploykit_exporters import record
from deploykit_exporters.golden.difference import DifferenceError, Why
from deploykit_exporters.golden.file import GoldenCase

__all__ = ["compare_pixels", "explain_pixels"]

_CROPS = (1.0, 0.95, 0.9, 0.875, 0.96, 0.965, 0.94, 0.885, 0.8)
"""Shares of the short edge that evaluations are known to crop."""

_RESAMPLERS = {"pillow": "as Pillow does", "opencv": "as OpenCV does, without antialiasing"}
_INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic", "lanczos", "nearest", "box")
_EXACT = 0.01
_EQUAL_PIXELS = 0.99
_ROUNDED_TWICE = 2.01
"""Most pixels are equal where both sides round; the few others are next to each other, or next but one."""

_NOT_ROUNDED, _MEAN_ROUNDING = 1.5, 0.35
"""Largest and mean distance, in grey levels, from a resize that keeps fractions where ours rounds twice."""

_FITTED = 0.25
"""As ``_EXACT``, behind a mean and a standard deviation that were estimated."""

_SAME = 2e-3
"""Relative difference of a mean or standard deviation that was estimated from pixels."""


def compare_pixels(
    cases: Sequence[tuple[GoldenCase, np.ndarray]],
    spec: ModelSpec,
    axes: Mapping[str, AxisRange],
) -> str:
    """Compare our pre-processing with the user's, on what they recorded; what was compared, in words.

    Args:
        cases: The cases with their images [N, C, H, W].
        spec: The contract of the network.
        axes: The sizes that the network takes; a letterbox may be as small as the picture allows.

    Raises:
        DifferenceError: the tensors differ.
    """
    pictures = [(case, images[0]) for case, images in cases if case.of in ("photo", "picture")]
    if not pictures:
        return "pre-processing not recorded"
    wanted = PixelFormat.of(spec)
    bands = wanted.channels if wanted.color == "as_is" else 3
    others = [shown for case, _ in pictures if (shown := _shown(case).shape[2]) != bands]
    if others:
        return (
            f"pre-processing not compared: it was recorded on pictures of {others[0]} channels, the network "
            f"takes {wanted}"
        )
    fixed = replace(spec, input=replace(spec.input, dynamic={}))
    free = replace(spec, input=replace(spec.input, dynamic=dict(axes)))
    equal, rounded = 1.0, True
    for case, theirs in pictures:
        pixels = _shown(case)
        image = read_image(pixels if wanted.color == "as_is" else Image.fromarray(pixels), wanted)
        tensors = [one for one in (_prepared(image, fixed), _prepared(image, free)) if one is not None]
        fitting = [one for one in tensors if one.shape == theirs.shape]
        how = [_levels(theirs, one, spec.preprocess) for one in fitting]
        levels = min(how, key=lambda one: float(one.max()), default=None)
        if levels is None or not (_equal(levels, _EXACT) or _unrounded(levels)):
            raise _differ(case.name, image, theirs, levels, fixed)
        equal = min(equal, float(np.mean(levels < _EXACT)))
        rounded &= _equal(levels, _EXACT)
    where = f"on {len(pictures)} picture{'s'[: len(pictures) - 1]}"
    return f"{equal:.2%} of the pixels equal {where}" if rounded else f"pixels equal up to rounding {where}"


def _shown(case: GoldenCase) -> np.ndarray:
    """The picture that the transform was given, uint8 [H, W, C]."""
    return record.synthetic_photo(case.bands) if case.pixels is None else case.pixels


def _equal(levels: np.ndarray, exact: float) -> bool:
    return bool(levels.max() <= _ROUNDED_TWICE and np.mean(levels < exact) >= _EQUAL_PIXELS)


def _unrounded(levels: np.ndarray) -> bool:
    return bool(levels.max() <= _NOT_ROUNDED and levels.mean() <= _MEAN_ROUNDING)


def _prepared(image: np.ndarray, spec: ModelSpec) -> np.ndarray | None:
    """float32 [C, H, W]; None where it comes to a size that the network does not take."""
    try:
        return preprocess(image, spec)[0]
    except DeploykitError:
        return None


def _levels(theirs: np.ndarray, ours: np.ndarray, how: Preprocess) -> np.ndarray:
    """Distance of each value in grey levels."""
    std = np.resize(np.asarray(how.std, np.float64), len(ours))[:, None, None]
    return np.asarray(np.abs(theirs.astype(np.float64) - ours) * std / how.scale)


def _differ(
    name: str, image: np.ndarray, theirs: np.ndarray, levels: np.ndarray | None, spec: ModelSpec
) -> DifferenceError:
    if levels is None:
        sides, own = theirs.shape[1:], spec.input
        return DifferenceError(
            "pre-processing",
            f"the recorded transform makes {sides[0]}x{sides[1]} of the {name}, deploykit "
            f"{own.height}x{own.width}.",
            why=Why(
                said="Record the transform for the size of the export, or export at the size of "
                "the transform.",
                options=(f"--imgsz {sides[0]},{sides[1]}",),
            ),
        )
    share = float(np.mean(levels >= _EXACT))
    return DifferenceError(
        "pre-processing",
        f"{share:.1%} of the values of the {name} differ, by up to {levels.max():.3g} grey levels.",
        why=explain_pixels(image, theirs, spec),
        otherwise="Give the mean, std, interpolation, crop_pct of the training with --config; was it the "
        "transform of the evaluation that was recorded?",
    )


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """How their values come from our pixels: theirs[c] = gain[c] * ours[order[c]] + bias[c]."""

    order: tuple[int, ...]
    mirrored: bool
    gain: np.ndarray
    bias: np.ndarray


def explain_pixels(image: np.ndarray, theirs: np.ndarray, spec: ModelSpec) -> Why:
    """Find a simple change to our pre-processing that reproduces a recorded tensor.

    Args:
        image: uint8 RGB [H, W, 3], grey [H, W, 1], or with other channels.
        theirs: What the recorded transform made of it, float32 [C, h, w].
        spec: Our contract.
    """
    if len(theirs) != image.shape[2]:
        return Why()
    height, width = theirs.shape[1:]
    own = spec.preprocess
    plain = "rgb" if own.color == "bgr" else own.color
    bare = replace(own, color=plain, scale=1.0, mean=(0.0,), std=(1.0,))
    sized = replace(spec, input=replace(spec.input, height=height, width=width))
    for how in _variants(bare, (height, width)):
        pixels = _prepared(image, replace(sized, preprocess=how))
        fit = _fit(pixels, theirs) if pixels is not None and pixels.shape == theirs.shape else None
        if fit is not None:
            said, config = _told(fit, how, own)
            if not said:
                break
            takes_it = spec.family in ("vit", "efficientnet")
            return Why(said=f"The recorded transform {', '.join(said)}.", config=config if takes_it else {})
    return Why()


def _variants(own: Preprocess, size: tuple[int, int]) -> Iterator[Preprocess]:
    """Ours, then what differs from it by little, then by more."""
    crops = [
        replace(own, resize="short", resize_to=(math.floor(max(size) / part),), crop=size, pre_crop=0.0)
        for part in _CROPS
    ]
    boxes = [
        replace(own, resize="letterbox", resize_to=size, crop=None, pre_crop=0.0, pad_value=value, stride=0)
        for value in (114, 0, 128, 255)
    ]
    stretched = replace(own, resize="stretch", resize_to=size, crop=None, pre_crop=0.0)
    geometries = [own, *crops, stretched, *boxes]
    yield from geometries
    for geometry in geometries:
        for name in _INTERPOLATIONS:
            yield replace(geometry, interpolation=name, resampler="pillow")
    for geometry in geometries:
        for name in ("bilinear", "bicubic", "nearest", "area"):
            yield replace(geometry, interpolation=name, resampler="opencv")


def _fit(pixels: np.ndarray, theirs: np.ndarray) -> _Fit | None:
    """The normalisation that makes their values of our pixels, to a grey level; None where there is none."""
    for mirrored in (False, True):
        for order in _orders(len(pixels)):
            ours = pixels[list(order)]
            ours = (ours[..., ::-1] if mirrored else ours).astype(np.float64)
            x = ours - ours.mean((1, 2), keepdims=True)
            spread = (x * x).sum((1, 2))
            if not spread.all():
                continue
            gain = (x * theirs).sum((1, 2)) / spread
            bias = theirs.mean((1, 2)) - gain * ours.mean((1, 2))
            fitted = gain[:, None, None] * ours + bias[:, None, None]
            if not gain.all():
                continue
            levels = np.abs(theirs - fitted) / np.abs(gain)[:, None, None]
            if _equal(levels, _FITTED) or _unrounded(levels):
                return _Fit(order=order, mirrored=mirrored, gain=gain, bias=bias)
    return None


def _orders(channels: int) -> list[tuple[int, ...]]:
    """In which the channels may come: as they are, reversed, and with the first three (colours) reversed."""
    own = tuple(range(channels))
    return list(dict.fromkeys((own, own[::-1], (*own[2::-1], *own[3:]))))


def _told(fit: _Fit, how: Preprocess, own: Preprocess) -> tuple[list[str], dict[str, Any]]:
    """What is different, in words and as settings."""
    said: list[str] = []
    config: dict[str, Any] = {}
    if (how.resize, how.resize_to, how.crop) != (own.resize, own.resize_to, own.crop):
        said.append(f"{_geometry(how)} (deploykit: {_geometry(own)})")
        config |= _timm_words(how)
    elif how.pad_value != own.pad_value:
        said.append(f"pads with {how.pad_value} (deploykit: {own.pad_value})")
    if (how.interpolation, how.resampler) != (own.interpolation, own.resampler):
        names = [f"{one.interpolation}, {_RESAMPLERS[one.resampler]}" for one in (how, own)]
        said.append(f"resizes by {names[0]} (deploykit: {names[1]})")
        if how.resampler == "pillow":
            config["interpolation"] = how.interpolation
    if fit.mirrored:
        said.append("mirrors the image, as only a training does")
    natural = _orders(len(fit.order))[own.color == "bgr"]
    if fit.order != natural:
        colours: dict[tuple[int, ...], str] = {(0, 1, 2): "RGB", (2, 1, 0): "BGR"}
        theirs, ours = (colours.get(one, "-".join(map(str, one))) for one in (fit.order, natural))
        said.append(f"gives the channels as {theirs} (deploykit: {ours})")
    std = np.resize(np.asarray(own.std, np.float64), len(fit.gain))
    gain, bias = own.scale / std, -np.resize(np.asarray(own.mean, np.float64), len(std)) / std
    unequal = np.abs(fit.gain - gain) > _SAME * gain
    if unequal.any() or (np.abs(fit.bias - bias) > _SAME * np.maximum(np.abs(bias), 1)).any():
        found, wanted = _normalisation(fit.gain, fit.bias), _normalisation(gain, bias)
        said.append(f"has {_words(*found)} (deploykit: {_words(*wanted)})")
        config |= {"mean": found[0], "std": found[1]}
    return said, config


def _timm_words(how: Preprocess) -> dict[str, Any]:
    if how.resize == "stretch":
        return {"crop_mode": "squash", "crop_pct": 1.0}
    if how.resize != "short" or how.crop is None:
        return {}
    side = max(how.crop)
    known = (part for part in _CROPS if math.floor(side / part) == how.resize_to[0])
    return {"crop_pct": next(known, round(side / how.resize_to[0], 4))}


def _normalisation(gain: np.ndarray, bias: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixels divided by 255."""
    std = 1 / (255 * gain)
    return [_rounded(value) for value in -bias * std], [_rounded(value) for value in std]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) > 1e-6 else 0.0


def _words(mean: Sequence[float], std: Sequence[float]) -> str:
    return f"mean {' '.join(f'{value:g}' for value in mean)}, std {' '.join(f'{value:g}' for value in std)}"


def _geometry(how: Preprocess) -> str:
    to = "x".join(map(str, how.resize_to))
    crop = f" and crops {how.crop[0]}x{how.crop[1]}" if how.crop else ""
    pre = f"crops {how.pre_crop:.4g} of the short side and " if how.pre_crop else ""
    names = {"short": f"resizes the short edge to {to}", "stretch": f"stretches to {to}"}
    names |= {"letterbox": f"pads to {to} with {how.pad_value}", "long": f"resizes the long edge to {to}"}
    return f"{pre}{names.get(how.resize, 'does not resize')}{crop}"
