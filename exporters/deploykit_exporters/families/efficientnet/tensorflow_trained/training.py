"""Evaluation of the EfficientNets that TensorFlow trained, in whatever form their weights are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deploykit_runtimes.contract.spec import Preprocess

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.shared.imagenet import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
)

__all__ = ["TENSORFLOW_EPS", "TensorFlowEvaluation", "tensorflow_evaluation"]

TENSORFLOW_EPS = 1e-3
_MARGIN = 32
_LITE_MEAN = (127.0 / 255.0,) * 3
_LITE_STD = (128.0 / 255.0,) * 3


@dataclass(frozen=True, kw_only=True)
class TensorFlowEvaluation:
    """``build`` makes the pre-processing for a size; ``told_by`` says where its values come from, and is
    empty for the default.
    """

    build: Callable[[Size], Preprocess]
    told_by: str


def tensorflow_evaluation(
    compound: str, config: Mapping[str, Any] | None, *, advprop: str = ""
) -> TensorFlowEvaluation:
    """Crop ``size / (size + 32)`` of the short side, then resize bicubically (``preprocessing.py`` of the
    TensorFlow TPU repository).

    Mean and std are ImageNet's; 127 and 128 for the Lite variants (``efficientnet_lite_builder.py``); and
    127.5 both (``x * 2 - 1``) for weights trained with AdvProp, which include B8.

    Args:
        compound: ``b0``, ``lite0``, ...
        config: What the user said: ``{"advprop": true}`` or ``{"mean": [...], "std": [...]}``, for pixels
            divided by 255.
        advprop: Where the file says that it was trained with AdvProp, if it does.
    """
    config = config or {}
    if config.get("advprop", bool(advprop) or compound == "b8"):
        mean, std = INCEPTION_MEAN, INCEPTION_STD
    elif compound.startswith("lite"):
        mean, std = _LITE_MEAN, _LITE_STD
    else:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    asked = {key: tuple(map(float, config[key])) for key in ("mean", "std") if config.get(key)}

    def build(size: Size) -> Preprocess:
        side = min(size)
        return Preprocess(
            pre_crop=side / (side + _MARGIN),
            resize="stretch",
            resize_to=size,
            interpolation="bicubic",
            mean=asked.get("mean", mean),
            std=asked.get("std", std),
        )

    return TensorFlowEvaluation(build=build, told_by="--config" if asked or "advprop" in config else advprop)
