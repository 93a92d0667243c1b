"""Pre-processing of Ultralytics classifiers, as the transforms pickled with the model describe it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploykit_runtimes.spec import Interpolation, Preprocess

from deploykit_exporters.containers.inert import class_path, to_plain

__all__ = ["classify_preprocess"]

_INTERPOLATIONS: dict[str, Interpolation] = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos",
    "box": "box",
}


def classify_preprocess(tree: Any, height: int, width: int) -> Preprocess:
    """Short side to the image size, bilinear as Pillow does it, then the centre; a size that is not
    square is stretched to (``ultralytics.data.augment.classify_transforms``).

    The torchvision transforms that a trained model carries (``tree.transforms``) override
    interpolation, mean and standard deviation: releases before 8.1 normalised with ImageNet's.
    """
    steps = {class_path(step).rpartition(".")[2]: step for step in _steps(tree)}
    normalise = steps.get("Normalize")
    square = height == width
    return Preprocess(
        resize="short" if square else "stretch",
        resize_to=(height,) if square else (height, width),
        rounding="floor",
        crop=(height, width),
        interpolation=_interpolation(steps.get("Resize")),
        resampler="pillow",
        mean=_three(getattr(normalise, "mean", None), 0.0),
        std=_three(getattr(normalise, "std", None), 1.0),
    )


def _steps(tree: Any) -> Sequence[Any]:
    steps = getattr(getattr(tree, "transforms", None), "transforms", ())
    return steps if isinstance(steps, list | tuple) else ()


def _interpolation(resize: Any) -> Interpolation:
    # An enum member is pickled as a call of its class with the value ("bilinear").
    value = to_plain(getattr(resize, "interpolation", None))
    return _INTERPOLATIONS.get(value if isinstance(value, str) else "", "bilinear")


def _three(values: Any, default: float) -> tuple[float, ...]:
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, list | tuple) and len(values) == 3:
        return tuple(float(value) for value in values)
    return (default,) * 3
