"""What ImageNet training code shares: class names, normalisation, and evaluation pre-processing."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from typing import Any, Protocol, cast, get_args

from deploykit_runtimes.contract.spec import Interpolation, Preprocess, Resampler
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INCEPTION_MEAN",
    "INCEPTION_STD",
    "TIMM_SETTINGS",
    "crop_preprocess",
    "imagenet_class_names",
    "stretch_preprocess",
    "timm_preprocess",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INCEPTION_MEAN = (0.5, 0.5, 0.5)
INCEPTION_STD = (0.5, 0.5, 0.5)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

TIMM_SETTINGS = ("mean", "std", "interpolation", "crop_pct", "crop_mode")


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """The 1000 classes of ImageNet-1k (ILSVRC 2012) in index order: the WordNet lemmas of each, as timm
    carries them, for instance ``tabby, tabby cat``. All names differ: the two cranes, which have the same
    lemmas, are distinguished by their definitions.

    Raises:
        DependencyError: timm is not installed.
    """
    info = require("timm.data", extra="export", purpose="name the ImageNet classes").ImageNetInfo()
    indices = range(info.num_classes())
    names = [info.index_to_description(index) for index in indices]
    count = Counter(names)
    return tuple(
        name if count[name] == 1 else info.index_to_description(index, detailed=True)
        for index, name in zip(indices, names, strict=True)
    )


def crop_preprocess(
    size: tuple[int, int],
    *,
    resize: int | None = None,
    crop_pct: float | None = None,
    interpolation: Interpolation = "bicubic",
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    resampler: Resampler = "pillow",
) -> Preprocess:
    """The usual evaluation: resize the short edge, then crop the centre to ``size`` (h, w).

    The short edge becomes ``resize`` pixels, or ``floor(side / crop_pct)`` (timm); if the two sides of
    ``size`` differ, timm scales the image until it covers both. ``mean`` and ``std`` are for pixels divided
    by 255.
    """
    scaled = tuple(math.floor(side / (crop_pct or 1.0)) for side in size)
    if resize is None and scaled[0] != scaled[1]:
        return Preprocess(
            resize="cover",
            resize_to=scaled,
            crop=size,
            interpolation=interpolation,
            resampler=resampler,
            mean=mean,
            std=std,
        )
    return Preprocess(
        resize="short",
        resize_to=(scaled[0] if resize is None else resize,),
        crop=size,
        interpolation=interpolation,
        resampler=resampler,
        mean=mean,
        std=std,
    )


def stretch_preprocess(
    size: tuple[int, int],
    *,
    interpolation: Interpolation = "bilinear",
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    scale: float = 1.0 / 255.0,
) -> Preprocess:
    """Resize to exactly ``size`` (h, w), whatever the aspect ratio; nothing is cropped."""
    return Preprocess(
        resize="stretch",
        resize_to=size,
        interpolation=interpolation,
        scale=scale,
        mean=mean,
        std=std,
    )


class _Source(Protocol):
    """Settings by name: a mapping, or ``Settings``."""

    def get(self, name: str, /) -> Any: ...


def timm_preprocess(size: tuple[int, int], *sources: _Source) -> Preprocess:
    """timm's evaluation pre-processing, with each setting from the first source that has it.

    Args:
        size: (height, width) of the network's input.
        sources: Training arguments, a ``pretrained_cfg``, then defaults; a setting that is missing, None or
            empty (timm's scripts write ``''`` for what was not given) is looked up in the next one. timm's
            own defaults are ``crop_pct`` 0.875, bicubic and ImageNet's mean and std
            (``timm.data.resolve_data_config``).

    Raises:
        CheckpointError: a setting has a value that timm does not know.
    """
    found = {
        key: next((value for source in sources if (value := source.get(key))), None) for key in TIMM_SETTINGS
    }
    crop_pct = float(found["crop_pct"] or 0.875)
    interpolation = _interpolation(found["interpolation"])
    mean = _three(found["mean"] or IMAGENET_MEAN)
    std = _three(found["std"] or IMAGENET_STD)
    mode = found["crop_mode"] or "center"
    if mode == "squash":
        scaled = (math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct))
        return Preprocess(
            resize="stretch",
            resize_to=scaled,
            crop=None if scaled == size else size,
            interpolation=interpolation,
            mean=mean,
            std=std,
        )
    # The border has timm's mean colour, which is one grey level only if the means are equal.
    if mode == "border" and len(set(mean)) == 1 and size[0] == size[1]:
        return Preprocess(
            resize="long",
            resize_to=(math.floor(size[0] / crop_pct),),
            rounding="round",
            crop=size,
            pad_value=round(255 * mean[0]),
            interpolation=interpolation,
            mean=mean,
            std=std,
        )
    if mode != "center":
        raise CheckpointError(
            f"The checkpoint was evaluated with timm's crop_mode {mode!r}; "
            "deploykit knows center, squash, and border of a square with one mean for all channels.",
            hint='Choose the nearest, for instance --config \'{"crop_mode": "squash", "crop_pct": 1.0}\'.',
        )
    return crop_preprocess(size, crop_pct=crop_pct, interpolation=interpolation, mean=mean, std=std)


def _interpolation(name: Any) -> Interpolation:
    # timm writes "random" into the arguments of a training that used several: it evaluates bilinear.
    if name in (None, ""):
        return "bicubic"
    if name == "random":
        return "bilinear"
    known = get_args(Interpolation)
    if name not in known:
        raise CheckpointError(
            f"The checkpoint names the interpolation {name!r}; deploykit knows {', '.join(known)}."
        )
    return cast("Interpolation", name)


def _three(values: Any) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    return numbers * 3 if len(numbers) == 1 else numbers
