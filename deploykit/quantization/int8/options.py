"""The target of an INT8 file, its data, and how much accuracy it may lose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.options.option import declared, option, same_as

from deploykit.evaluation.data.classes import Matching
from deploykit.evaluation.options import EvalOptions

__all__ = ["RUNTIMES", "Int8Options", "Metric", "Target"]

Metric = Literal["top1", "map", "agreement"]
Target = Literal["any", "ort-cpu", "ov", "trt"]

RUNTIMES: dict[str, tuple[str, ...]] = {
    "any": ("ort-cpu", "ov-cpu"),
    "ort-cpu": ("ort-cpu",),
    "ov": ("ov-cpu",),
    "trt": ("trt",),
}
"""Where candidates for a target are timed, of those that work on this machine."""


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class Int8Options(EngineOptions):
    """The target of an INT8 file, its data, and how much accuracy it may lose."""

    budget: float = option(
        0.01,
        "Allowed loss of the metric, as a share: 0.01 is one point of top-1 or mAP50-95.",
        form="share",
        least=0,
        most=1,
        metavar="P|P%",
    )
    metric: Metric | None = option(
        None,
        "What is measured: top1, map (mAP50-95), or agreement with float32. Default: depends on the labels.",
        form="choice",
        choices=("top1", "map", "agreement"),
    )
    target: Target = option("any", "The engine that the file is for; any: the fastest of those installed.")
    calibrate: int = option(128, "Maximum number of pictures to take ranges from.", least=1, metavar="N")
    limit: int | None = same_as(EvalOptions, "limit")
    seed: int = same_as(EvalOptions, "seed")
    split: str = same_as(EvalOptions, "split")
    matching: Matching = same_as(EvalOptions, "matching")
    fresh: bool = same_as(EvalOptions, "fresh")
    slower: bool = option(
        False, "Write the file even if it is no faster than float32 on this machine.", flags="--keep-slower"
    )
    seconds: float = option(1.5, "Time spent on each timing.", above=0, most=600, metavar="S")
