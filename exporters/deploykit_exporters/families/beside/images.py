"""Settings of images (size, crop, filter, mean and std, colours), compared with the pre-processing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deploykit_exporters.families.beside.as_built import BuiltNetwork, plain
from deploykit_exporters.families.beside.verdict import (
    AGREES,
    UNCLEAR,
    Comparison,
    Verdict,
    are_numbers,
    word_of,
)
from deploykit_exporters.families.beside.vocabulary import Topic
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deploykit_exporters.families.shared.setting_values import sides_of

__all__ = ["IMAGES", "STATISTICS", "normalization"]

_PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_FILTERS = {"cubic": "bicubic", "linear": "bilinear", "random": "bilinear", "intercubic": "bicubic"}
_FILTERS |= {
    "interlinear": "bilinear",
    "internearest": "nearest",
    "lanczos3": "lanczos",
    "lanczos4": "lanczos",
}
STATISTICS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "imagenet1k": (IMAGENET_MEAN, IMAGENET_STD),
    "inception": ((0.5,), (0.5,)),
}


def _size(value: Any, built_as: BuiltNetwork, name: frozenset[str], beside: Mapping[str, Any]) -> Verdict:
    sides = sides_of(value)
    if sides is None or name & {"train", "local"}:
        return UNCLEAR
    own = (built_as.spec.input.height, built_as.spec.input.width)
    if sides == own or (name & {"height", "width"} and value in own):
        return AGREES
    cropped = any("crop" in key.lower() and sides_of(one) == own for key, one in beside.items())
    if cropped and "crop" not in name:
        return _resize(value, built_as)
    return Verdict(differs=True, built=f"{own[0]}x{own[1]}")


def _resize(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    sides, how = sides_of(value), built_as.spec.preprocess
    if sides is None:
        return UNCLEAR
    own = how.resize_to if len(how.resize_to) == 2 else how.resize_to * 2
    if sides == own or how.resize == "none":
        return AGREES if sides == own else UNCLEAR
    return Verdict(differs=True, built="x".join(map(str, how.resize_to)))


def _crop(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    how = built_as.spec.preprocess
    own = min(how.crop) / min(how.resize_to) if how.crop and how.resize_to else 1.0
    if (
        name & {"pct", "ratio", "percent", "fraction", "crop"}
        and isinstance(value, float)
        and 0 < value <= 1.5
    ):
        near = abs(value - own) <= 1.5 / max(1, min(how.resize_to or (1,)))
        return AGREES if near else Verdict(differs=True, built=round(own, 4))
    if isinstance(value, bool) and name <= {"center", "centre", "crop", "do", "use"}:
        return AGREES if value == bool(how.crop) else Verdict(differs=True, built=bool(how.crop))
    if "mode" in name:
        mode = "squash" if how.resize == "stretch" else "border" if how.resize == "long" else "center"
        return AGREES if value == mode else Verdict(differs=True, built=mode)
    if sides_of(value) is not None:
        return _size(value, built_as, name, {})
    return (
        Verdict(differs=True, built="a crop of the centre" if how.crop else "no crop") if value else UNCLEAR
    )


def _statistic(value: Any, own: Sequence[float], built_as: BuiltNetwork) -> Verdict:
    unit = 1 / 255 / built_as.spec.preprocess.scale
    built = [one * unit for one in own]
    told = [float(one) for one in value] if isinstance(value, list | tuple) else [float(value)]
    if len(told) not in (1, built_as.spec.input.channels):
        return UNCLEAR
    for scale in (1.0, 1 / 255):
        if all(abs(a * scale - b) <= 2e-3 for a, b in zip(_spread(told, len(built)), built, strict=True)):
            return AGREES
    return Verdict(differs=True, built=[round(one, 4) for one in built])


def _mean_or_std(which: str) -> Comparison:
    def check(value: Any, built_as: BuiltNetwork, name: frozenset[str], beside: Mapping[str, Any]) -> Verdict:
        plain_values = value.tolist() if hasattr(value, "tolist") else value
        if not are_numbers(plain_values):
            return UNCLEAR
        if not isinstance(plain_values, list | tuple) and not (
            {"mean", "std"} <= beside.keys() or len(name) > 1
        ):
            return UNCLEAR  # the mean of anything
        how = built_as.spec.preprocess
        return _statistic(plain_values, how.mean if which == "mean" else how.std, built_as)

    return check


def normalization(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    """Compare a flag, a name, or a pair of mean and std with what was built."""
    how = built_as.spec.preprocess
    if isinstance(value, bool):
        return AGREES if value else Verdict(differs=True, built=f"mean {list(how.mean)}, std {list(how.std)}")
    pair: Any = value
    if isinstance(value, str):
        pair = STATISTICS.get(plain(value))
    if isinstance(pair, list | tuple) and len(pair) == 2 and all(map(are_numbers, pair)):
        found = [_statistic(told, own, built_as) for told, own in zip(pair, (how.mean, how.std), strict=True)]
        return next((one for one in found if not one.agrees), AGREES)
    if isinstance(value, str):
        return Verdict(differs=True, built=f"mean {list(how.mean)}, std {list(how.std)}")
    return UNCLEAR


def _interpolation(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    own = built_as.spec.preprocess.interpolation
    if isinstance(value, bool):
        return UNCLEAR
    word = _PILLOW.get(value, "") if isinstance(value, int) else plain(word_of(value))
    if not word:
        return UNCLEAR
    return AGREES if _FILTERS.get(word, word) == own else Verdict(differs=True, built=own)


def _colour(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    own, word = built_as.spec.preprocess.color, plain(word_of(value))
    if isinstance(value, bool):  # a flag: grayscale=True
        return AGREES if value == (own == "grey") else Verdict(differs=True, built=own)
    known = {"gray": "grey", "grayscale": "grey", "greyscale": "grey", "l": "grey"}
    if word in {"rgb", "bgr", *known, "grey"}:
        return AGREES if known.get(word, word) == own else Verdict(differs=True, built=own)
    return UNCLEAR


def _bgr(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    own = built_as.spec.preprocess.color
    if not isinstance(value, bool) or own not in {"rgb", "bgr"} or "convert" in name:
        return UNCLEAR
    turned = {"bgr", "rgb"} <= name  # mmcv's bgr_to_rgb
    told = "bgr" if value == ("bgr" in name and not turned) else "rgb"
    return AGREES if told == own else Verdict(differs=True, built=own)


def _letterbox(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    own = built_as.spec.preprocess.resize
    if "square" in name:
        padded = own in {"letterbox", "long"}
        return AGREES if not value or padded else Verdict(differs=True, built=own)
    kept = own != "stretch" if "letterbox" not in name else own in {"letterbox", "long"}
    if not isinstance(value, bool) or (not value and "letterbox" not in name and own == "none"):
        return UNCLEAR
    return AGREES if value == kept else Verdict(differs=True, built=own)


def _rescale(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    own = built_as.spec.preprocess.scale
    if isinstance(value, bool):
        return AGREES if value == (own != 1) else Verdict(differs=True, built=f"{own:.6g}")
    if not are_numbers(value) or isinstance(value, list | tuple):
        return UNCLEAR
    return AGREES if math.isclose(value, own, rel_tol=1e-3) else Verdict(differs=True, built=f"{own:.6g}")


def _spread(values: Sequence[float], count: int) -> Sequence[float]:
    return list(values) * count if len(values) == 1 else values


IMAGES: dict[Topic, Comparison] = {
    "size": _size,
    "crop size": _size,
    "resize": _resize,
    "crop": _crop,
    "mean": _mean_or_std("mean"),
    "std": _mean_or_std("std"),
    "normalization": normalization,
    "interpolation": _interpolation,
    "colour": _colour,
    "bgr": _bgr,
    "letterbox": _letterbox,
    "rescale": _rescale,
}
"""How the settings of each topic are compared."""
