"""Statistics against numpy on random samples; warm-up and rounds against a made-up clock."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from deploykit_runtimes.errors import OptionError
from hypothesis import given
from hypothesis import strategies as st

from deploykit.benchmark.timing import (
    NOISY,
    interleave,
    measure,
    percentile,
    sample,
    summarise,
    warm_up,
)

samples = st.lists(st.floats(1e-7, 1e3), min_size=1, max_size=200)


class FakeClock:
    """A clock that calls move: ``call(cost)`` returns a callable which takes that many seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, *costs: float, name: str = "") -> Callable[[], None]:
        upcoming = itertools.chain(costs, itertools.repeat(costs[-1]))

        def run() -> None:
            self.now += next(upcoming)
            self.log.append(name)

        return run


@given(samples, st.floats(0, 100))
def test_percentile_is_numpys(values: list[float], q: float) -> None:
    assert percentile(values, q) == pytest.approx(np.percentile(values, q), rel=1e-9)


@given(samples)
def test_percentile_is_monotonic_and_within_the_samples(values: list[float]) -> None:
    ladder = [percentile(values, q) for q in (0, 10, 50, 90, 95, 99, 100)]
    assert ladder == sorted(ladder)
    assert ladder[0] == min(values)
    assert ladder[-1] == max(values)


@pytest.mark.parametrize("q", [-1, 101, math.nan])
def test_percentile_refuses_other_ranks(q: float) -> None:
    with pytest.raises(OptionError, match="between 0 and 100"):
        percentile([1.0], q)


def test_no_samples_are_refused() -> None:
    with pytest.raises(OptionError, match="at least one sample"):
        summarise([])


@given(samples)
def test_summary_is_numpys_and_ordered(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.runs == len(values)
    assert summary.mean == pytest.approx(np.mean(values))
    assert summary.min <= summary.median <= summary.p95 <= summary.p99 <= summary.max
    assert summary.min <= summary.mean <= summary.max
    expected = np.std(values, ddof=1) if len(values) > 1 else 0.0
    assert summary.std == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(samples, st.permutations(range(5)))
def test_summary_does_not_depend_on_the_order(values: list[float], order: list[int]) -> None:
    head = [values[index % len(values)] for index in order]
    assert summarise([*head, *values]) == summarise([*values, *reversed(head)])


def test_noise_is_marked() -> None:
    assert not summarise([1.0, 1.01, 0.99]).noisy
    noisy = summarise([1.0, 2.0, 1.0])
    assert noisy.variation > NOISY
    assert noisy.to_dict()["noisy"] is True


def test_throughput_and_units() -> None:
    summary = summarise([0.01, 0.01])
    assert summary.throughput(4) == pytest.approx(400)
    assert summary.to_dict()["median_ms"] == pytest.approx(10)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True), st.integers(1, 30))
def test_every_round_holds_every_name_once(names: list[str], rounds: int) -> None:
    orders = list(itertools.islice(interleave(names), rounds))
    assert all(sorted(order) == sorted(names) for order in orders)
    firsts = [order[0] for order in orders[: len(names)]]
    assert len(set(firsts)) == len(firsts)


def test_no_names_give_no_rounds() -> None:
    assert list(interleave([])) == []


def test_warm_up_waits_until_calls_no_longer_get_faster() -> None:
    clock = FakeClock()
    falling = clock.call(1.0, 0.5, 0.25, 0.125, 0.06, 0.03, 0.015, 0.01)
    assert warm_up(falling, max_seconds=100, clock=clock) == 11


def test_warm_up_is_bounded_in_time() -> None:
    clock = FakeClock()
    assert warm_up(clock.call(2.0), max_seconds=3.0, clock=clock) == 2


def test_warm_up_takes_an_exact_number_of_calls() -> None:
    clock = FakeClock()
    assert warm_up(clock.call(1.0), runs=0, clock=clock) == 0
    assert warm_up(clock.call(1.0), runs=9, clock=clock) == 9


def test_samples_are_what_each_call_took_in_turns() -> None:
    clock = FakeClock()
    calls = {"a": clock.call(1.0, name="a"), "b": clock.call(3.0, name="b")}
    found = sample(calls, runs=4, clock=clock)
    assert found == {"a": [1.0] * 4, "b": [3.0] * 4}
    assert clock.log == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_a_time_budget_ends_after_five_rounds_unless_they_are_far_too_slow() -> None:
    clock = FakeClock()
    assert len(sample({"very slow": clock.call(10.0)}, seconds=1.0, clock=clock)["very slow"]) == 2
    assert len(sample({"slow": clock.call(0.3)}, seconds=1.0, clock=clock)["slow"]) == 5
    assert len(sample({"fast": clock.call(0.1)}, seconds=1.0, clock=clock)["fast"]) in (10, 11)


def test_the_garbage_collector_is_given_back() -> None:
    clock = FakeClock()
    states = []
    sample({"look": lambda: states.append(gc.isenabled())}, runs=1, clock=clock)
    assert states == [False]
    assert gc.isenabled()

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        sample({"fail": fail}, runs=1, clock=clock)
    assert gc.isenabled()


def test_measure_warms_up_and_summarises() -> None:
    clock = FakeClock()
    summary = measure({"a": clock.call(5.0, 1.0)}, runs=3, clock=clock)["a"]
    assert (summary.runs, summary.median, summary.max) == (3, 1.0, 1.0)
