"""How far answers may be off: what counts of each layout, and what does not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from deploykit_exporters.precision.answers import Found, found_of, reference_of
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess

IMAGE = np.zeros((1, 3, 64, 64), np.float32)


def spec(layout: Any, task: Any = "classify", names: tuple[str, ...] = ("out",), **more: Any) -> ModelSpec:
    output = OutputSpec(names=names, layout=layout, **more)
    return ModelSpec(
        task=task,
        family="yolo",
        variant="made",
        origin="",
        input=InputSpec(height=64, width=64),
        preprocess=Preprocess(),
        output=output,
        num_classes=3,
    )


def off(kind: ModelSpec, expected: np.ndarray, found: np.ndarray, judged: bool = True) -> Found:
    reference = reference_of({"out": expected}, kind, IMAGE, judged=judged)
    return found_of({"out": found}, reference)


def test_logits_are_judged_by_their_scale_and_best_class() -> None:
    expected = np.array([[10.0, 2.0, 9.99]], np.float32)
    assert off(spec("logits"), expected, expected) == Found(0.0, 1, 1, "out is off by 0, allowed is 0.1")
    near = off(spec("logits"), expected, expected + np.float32(0.05))
    assert near.share == pytest.approx(0.5, rel=1e-3)
    other = off(spec("logits"), expected, expected + np.array([[0, 0, 0.05]], np.float32))
    assert (other.agreed, other.answers) == (0, 1)
    assert other.cost <= 1  # one image in one: too few to tell


def test_one_best_class_in_a_hundred_may_be_another() -> None:
    assert Found(0.5, 99, 100).cost == 0.5
    assert Found(0.5, 980, 1000).cost > 1
    assert Found(0.5, 980, 1000).said == "20 of 1000 best classes are others"


def head(score: float = 0.9) -> np.ndarray:
    """[1, 4 + 3, 200]: two boxes with a score, and 198 without."""
    values = np.zeros((1, 7, 200), np.float32)
    values[0, :4] = np.linspace(1, 60, 200)
    values[0, 4, :2] = score
    return values


def test_a_box_is_judged_by_pixels_and_its_score() -> None:
    kind = spec("yolo", "detect")
    moved = head()
    moved[0, 0, 1] += 0.4
    found = off(kind, head(), moved)
    assert found.share == pytest.approx(0.8, rel=1e-3)
    assert found.where == "boxes is off by 0.4, allowed is 0.5"
    assert (found.agreed, found.answers) == (2, 2)
    assert off(kind, head(), np.concatenate([head()[:, :4], head(0.8)[:, 4:]], axis=1)).share > 1
    swapped = head()
    swapped[0, [4, 5]] = swapped[0, [5, 4]]
    assert off(kind, head(), swapped).agreed == 0


def test_boxes_that_nobody_looks_at_do_not_count() -> None:
    moved = head()
    moved[0, :4, 150:] += 30
    assert off(spec("yolo", "detect"), head(), moved).share == 0


def test_yolov5_has_its_columns_last() -> None:
    values = np.moveaxis(np.insert(head(), 4, 1.0, axis=1), 1, 2)
    moved = values.copy()
    moved[0, 0, 0] += 1
    found = off(spec("yolov5", "detect"), values, moved)
    assert found.where.startswith("boxes is off by 1")


def test_keypoints_are_judged_by_pixels() -> None:
    kind = spec("yolo", "pose", keypoints=(2, 3))
    more = np.concatenate([head(), np.full((1, 6, 200), 30, np.float32)], axis=1)
    moved = more.copy()
    moved[0, 7, 0] += 0.25
    assert off(kind, more, moved).where == "keypoints is off by 0.25, allowed is 0.5"


def test_what_is_not_finite_costs_everything_also_on_noise() -> None:
    expected = np.ones((1, 3), np.float32)
    for value in (np.nan, np.inf):
        found = off(spec("logits"), expected, np.array([[1, value, 1]], np.float32), judged=False)
        assert found.share == math.inf
        assert found.where == "out has NaN or infinity"
    assert off(spec("logits"), expected, expected * 3, judged=False) == Found()


def test_another_shape_costs_everything() -> None:
    assert off(spec("features", "features"), np.ones((1, 4)), np.ones((1, 5))).share == math.inf


def test_finished_answers_are_matched() -> None:
    kind = spec("end2end", "detect", nms=True)
    rows = np.array([[[1, 1, 30, 30, 0.9, 0], [5, 5, 40, 40, 0.8, 1], [0, 0, 1, 1, 0.01, 2]]], np.float32)
    turned = rows[:, [1, 0, 2]].copy()
    turned[0, 0, 0] += 0.25
    found = off(kind, rows, turned)
    assert found.share == pytest.approx(0.5, rel=1e-3)
    assert found.agreed == found.answers
    gone = rows.copy()
    gone[0, 0, 5] = 2
    assert off(kind, rows, gone).cost > 1
