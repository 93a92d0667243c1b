"""Where the time of a call goes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Literal

__all__ = ["Clock", "Timings"]


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time of a call went, in milliseconds, summed over its images."""

    decode_ms: float
    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float


class Clock:
    """Shares the time of a call out among its stages."""

    def __init__(self) -> None:
        self._laps: list[tuple[str, float]] = [("", perf_counter())]

    def lap(self, stage: Literal["decode", "preprocess", "infer", "postprocess"]) -> None:
        """What passed since the last lap was spent on this stage."""
        self._laps.append((stage, perf_counter()))

    def timings(self) -> Timings:
        """The sums."""
        spent = {"decode": 0.0, "preprocess": 0.0, "infer": 0.0, "postprocess": 0.0}
        for (_, before), (stage, now) in pairwise(self._laps):
            spent[stage] += now - before
        return Timings(**{f"{stage}_ms": 1e3 * seconds for stage, seconds in spent.items()})
