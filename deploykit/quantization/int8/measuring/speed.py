"""The time of a candidate on its target engine, measured in turns with float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.open import open_runner

from deploykit.benchmark.timing import sample, summarise, warm_up

__all__ = ["Speed", "Timer", "Turns"]

_SECONDS = 1.5


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Times of one candidate.

    Attributes:
        ms: The median time of a call of the candidate.
        float32_ms: The same for float32, in the same rounds.
        ratio: Float32's time divided by the candidate's, median over the rounds.
        low, high: The quartiles of the ratio over the rounds.
    """

    ms: float
    float32_ms: float
    ratio: float
    low: float
    high: float


class Timer(Protocol):
    """Measures a candidate against float32 on one engine."""

    def __call__(self, path: Path) -> Speed: ...


class Turns:
    """Calls in turns, so that a busy neighbour affects both alike.

    Args:
        float32: The float32 file.
        runtime: The engine.
        options: How the engine is opened.
        feeds: The graph's inputs.
        seconds: Time for each of the two.
    """

    def __init__(
        self,
        float32: Path,
        runtime: str,
        options: EngineOptions,
        feeds: Mapping[str, np.ndarray],
        *,
        seconds: float = _SECONDS,
    ) -> None:
        self._float32, self._runtime, self._options = float32, runtime, options
        self._feeds, self._seconds = feeds, seconds

    def __call__(self, path: Path) -> Speed:
        """Time a file against float32."""
        with ExitStack() as stack:
            runners = {
                name: stack.enter_context(open_runner(file, runtime=self._runtime, options=self._options))
                for name, file in (("float32", self._float32), ("candidate", path))
            }
            calls: dict[str, Callable[[], object]] = {
                name: lambda runner=runner: runner.infer(self._feeds)  # type: ignore[misc]
                for name, runner in runners.items()
            }
            for call in calls.values():
                warm_up(call, max_seconds=self._seconds)
            times = sample(calls, seconds=self._seconds)
        ratios = sorted(a / b for a, b in zip(times["float32"], times["candidate"], strict=True))
        return Speed(
            ms=summarise(times["candidate"]).median * 1e3,
            float32_ms=summarise(times["float32"]).median * 1e3,
            ratio=float(np.median(ratios)),
            low=float(np.quantile(ratios, 0.25)),
            high=float(np.quantile(ratios, 0.75)),
        )
