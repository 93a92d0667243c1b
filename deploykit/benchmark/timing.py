"""Timing that can be trusted: pure functions over samples, and an interleaved measurement.

Samples are seconds of single calls. Competing calls are interleaved round-robin in one run, so that
a change of clock frequency or a busy neighbour hits all of them alike.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from deploykit_runtimes.errors import OptionError

__all__ = ["NOISY", "TimingSummary", "interleave", "measure", "percentile", "sample", "summarise", "warm_up"]

NOISY = 0.10
"""Coefficient of variation above which a result is marked as noisy."""

_MIN_ROUNDS = 5
_MAX_ROUNDS = 100_000
_STABLE_WITHIN = 0.05

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class TimingSummary:
    """Statistics of repeated calls, in seconds.

    Attributes:
        runs: Number of timed calls.
        std: Standard deviation of the sample (0 for a single call).
    """

    runs: int
    median: float
    mean: float
    min: float
    max: float
    p95: float
    p99: float
    std: float

    @property
    def variation(self) -> float:
        """Coefficient of variation: standard deviation over mean."""
        return self.std / self.mean if self.mean > 0 else 0.0

    @property
    def noisy(self) -> bool:
        return self.variation > NOISY

    def throughput(self, images: int = 1) -> float:
        """Images per second when each call handles ``images``, from the mean."""
        return images / self.mean if self.mean > 0 else math.inf

    def to_dict(self) -> dict[str, object]:
        """Times in milliseconds, as latency is read."""
        times = {
            f"{name}_ms": round(getattr(self, name) * 1e3, 6)
            for name in ("median", "mean", "min", "max", "p95", "p99", "std")
        }
        return {"runs": self.runs, **times, "variation": round(self.variation, 6), "noisy": self.noisy}


def percentile(samples: Sequence[float], q: float) -> float:
    """The q-th percentile, 0 <= q <= 100, interpolated linearly between closest ranks
    (method 7 of Hyndman and Fan 1996, numpy's default).

    Raises:
        OptionError: there are no samples, or q is out of range.
    """
    if not samples:
        raise OptionError("A percentile needs at least one sample, found none.")
    if not 0 <= q <= 100:
        raise OptionError(f"A percentile lies between 0 and 100, found {q}.")
    ordered = sorted(samples)
    rank = (len(ordered) - 1) * q / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    step = (ordered[high] - ordered[low]) * (rank - low)
    return min(ordered[low] + step, ordered[high])


def summarise(samples: Sequence[float]) -> TimingSummary:
    """Statistics of samples in seconds.

    Raises:
        OptionError: there are no samples.
    """
    median = percentile(samples, 50)
    mean = min(max(math.fsum(samples) / len(samples), min(samples)), max(samples))
    spread = math.fsum((sample - mean) ** 2 for sample in samples)
    return TimingSummary(
        runs=len(samples),
        median=median,
        mean=mean,
        min=min(samples),
        max=max(samples),
        p95=percentile(samples, 95),
        p99=percentile(samples, 99),
        std=math.sqrt(spread / (len(samples) - 1)) if len(samples) > 1 else 0.0,
    )


def interleave(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Endless rounds in which every name occurs once; each round starts with the next name, so that no name
    always runs after the same one.
    """
    turn = 0
    while names:
        start = turn % len(names)
        yield (*names[start:], *names[:start])
        turn += 1


def warm_up(
    call: Callable[[], object],
    *,
    runs: int | None = None,
    max_seconds: float = 3.0,
    clock: Clock = time.perf_counter,
) -> int:
    """Call until the time of a call no longer falls, and return how many calls that took.

    Stable means that the best of the last three calls is within 5 % of the best of the three
    before. At least six calls are made, unless ``max_seconds`` elapse first.

    Args:
        runs: Make exactly this many calls instead.
    """
    started = clock()
    times: list[float] = []
    while True:
        if runs is not None and len(times) >= runs:
            return len(times)
        begin = clock()
        call()
        times.append(clock() - begin)
        if runs is not None:
            continue
        if len(times) >= 6 and min(times[-3:]) >= min(times[-6:-3]) * (1 - _STABLE_WITHIN):
            return len(times)
        if clock() - started >= max_seconds:
            return len(times)


def sample(
    calls: Mapping[str, Callable[[], object]],
    *,
    runs: int | None = None,
    seconds: float = 2.0,
    clock: Clock = time.perf_counter,
    on_round: Callable[[int], None] | None = None,
) -> dict[str, list[float]]:
    """Time warmed-up calls in interleaved rounds; returns the samples of each, in seconds.

    Args:
        runs: Rounds to make; None goes on until ``seconds`` per call have passed, and for five rounds
            unless these take more than twice as long.
        on_round: Called between timed calls with the number of finished rounds.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    budget = seconds * len(calls)
    started = clock()
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for done, order in enumerate(interleave(list(calls))):
            if done >= (runs if runs is not None else _MAX_ROUNDS):
                break
            if runs is None and _enough(done, clock() - started, budget):
                break
            for name in order:
                begin = clock()
                calls[name]()
                samples[name].append(clock() - begin)
            if on_round is not None:
                on_round(done + 1)
    finally:
        if collecting:
            gc.enable()
    return samples


def _enough(rounds: int, elapsed: float, budget: float) -> bool:
    return elapsed >= (budget if rounds >= _MIN_ROUNDS else 2 * budget) and rounds > 1


def measure(
    calls: Mapping[str, Callable[[], object]],
    *,
    runs: int | None = None,
    seconds: float = 2.0,
    clock: Clock = time.perf_counter,
) -> dict[str, TimingSummary]:
    """Warm each call up, then time all of them interleaved.

    Args:
        calls: What to time, by name; each does one unit of work and returns when it is finished.
        runs, seconds: See ``sample``.
    """
    for call in calls.values():
        warm_up(call, clock=clock)
    timed = sample(calls, runs=runs, seconds=seconds, clock=clock)
    return {name: summarise(samples) for name, samples in timed.items()}
