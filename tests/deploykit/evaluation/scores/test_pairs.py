"""Two models on the same pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.evaluation.scores.average_precision import class_curves
from deploykit.evaluation.scores.bootstrap import map_interval
from deploykit.evaluation.scores.pairs import compared_classifiers, compared_detectors, mcnemar
from deploykit.evaluation.scores.records import Record


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    from scipy.stats import binomtest

    wanted = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def answered(first: int, truth: int) -> Record:
    return {
        "top": np.array([[first, 1, 2, 3, 4]], np.int32),
        "score": np.array([0.9], np.float32),
        "truth": np.array([truth], np.int32),
    }


def test_classifiers_are_compared_on_what_both_have_answered() -> None:
    first = {0: answered(1, 1), 1: answered(1, 1), 2: answered(0, 1), 3: answered(7, 7)}
    second = {0: answered(1, 1), 1: answered(0, 1), 2: answered(2, 1)}
    found = compared_classifiers(first, second)
    assert (found["images"], found["both_right"], found["both_wrong"]) == (3, 1, 1)
    assert (found["only_first_right"], found["only_second_right"]) == (1, 0)
    assert found["differing"] == [1, 2]  # the one that a model has right comes first
    assert found["agreement"] == pytest.approx(1 / 3)
    assert found["mcnemar_p"] == 1.0


def detections(generator: np.random.Generator, share: float) -> Record:
    """Six objects, and ten detections of which a share is right."""
    count = 10
    truth = generator.integers(0, 3, 6).astype(np.int32)
    right = generator.random((count, 1)) < share
    found = generator.integers(0, 3, count).astype(np.int32)
    return {
        "scores": np.sort(generator.random(count).astype(np.float32))[::-1],
        "found": found,
        "boxes": np.repeat(right, 10, 1),
        "truth": truth,
        "confused": np.stack([truth, truth], 1),
    }


def test_the_difference_of_the_bootstrap_is_that_of_the_map() -> None:
    generator = np.random.default_rng(1)
    sides = [[detections(generator, share) for _ in range(30)] for share in (0.3, 0.6)]
    maps = []
    for records in sides:
        joined = {name: np.concatenate([record[name] for record in records]) for name in records[0]}
        curves = class_curves(joined["boxes"], joined["scores"], joined["found"], joined["truth"])
        maps.append(curves.means()["map"])
    found = map_interval(*sides, "boxes", resamples=200)
    assert found["difference"] == pytest.approx(maps[1] - maps[0], abs=2e-3)
    assert found["low"] < found["difference"] < found["high"]
    assert found["low"] > 0  # twice as many hits cannot be chance


def test_a_model_against_itself_differs_nowhere() -> None:
    generator = np.random.default_rng(2)
    records = {place: detections(generator, 0.5) for place in range(12)}
    found = compared_detectors(records, records, seed=0, resamples=50)
    assert found["agreement"] == 1.0
    assert found["differing"] == []
    values = found["map_difference"]["boxes"]
    assert (values["difference"], values["low"], values["high"]) == (0.0, 0.0, 0.0)


def test_the_same_seed_draws_the_same() -> None:
    generator = np.random.default_rng(3)
    sides = [[detections(generator, share) for _ in range(9)] for share in (0.3, 0.6)]
    one, two, other = (map_interval(*sides, "boxes", seed=seed, resamples=40) for seed in (5, 5, 6))
    assert one == two
    assert one != other
