"""How far outputs are from what was kept: samples, means, best classes, rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.selftest.cases import Slice
from deploykit_runtimes.selftest.compare import differences, gaps
from deploykit_runtimes.selftest.measure import keep_rows, keep_values, means

SPEC = ModelSpec(
    task="detect",
    family="yolo",
    variant="y",
    origin="o",
    input=InputSpec(height=32, width=32),
    preprocess=Preprocess(),
    output=OutputSpec(names=("boxes", "scores", "classes", "count"), layout="detections", max_det=12),
)
TOLERANCES = {"fp32": (1e-4, 1e-4), "fp16": (1e-2, 1e-2)}


def logits() -> dict[str, np.ndarray]:
    return {"logits": np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)}


def judged(outputs, kept, precision: str = "fp32"):
    return differences(outputs, kept, SPEC, precision)


def kept_logits():
    part = Slice(output="logits", best=True)
    return replace(keep_values(logits(), part), tolerances=TOLERANCES)


def test_the_same_outputs_differ_by_rounding_alone() -> None:
    found = judged(logits(), kept_logits())
    assert found.ok
    assert found.found < 1e-6
    assert (found.agreed, found.answers) == (2, 2)


@pytest.mark.parametrize("places", [(3, 4), (0, 999), (500, 501)])
def test_two_classes_that_change_places_are_seen(places: tuple[int, int]) -> None:
    outputs = logits()
    outputs["logits"][:, places] = outputs["logits"][:, places[::-1]]
    assert not judged(outputs, kept_logits()).ok


def test_two_of_many_classes_that_change_places_are_seen_between_the_samples() -> None:
    """Of 21,841 classes few are sampled, and no plain mean of a stretch sees what changes places in it."""
    values = {"logits": np.random.default_rng(0).normal(size=(1, 21841)).astype(np.float32)}
    kept = keep_values(values, Slice(output="logits"))
    unseen = 0
    for at in range(100, 21000, 700):
        wrong = values["logits"].copy()
        wrong[:, [at, at + 1]] = wrong[:, [at + 1, at]]
        unseen += max(gaps({"logits": wrong}, kept, SPEC)) < 1e-6
    # Two neighbours of the same sign look the same: half of them, unless a sample hits one.
    assert unseen <= 20
    far = values["logits"].copy()
    far[:, [5, 20000]] = far[:, [20000, 5]]
    assert max(gaps({"logits": far}, kept, SPEC)) > 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_fails(value: float) -> None:
    outputs = logits()
    outputs["logits"][:] = value
    assert not judged(outputs, kept_logits()).ok


def test_other_shapes_and_names_fail_with_words() -> None:
    found = judged({"other": np.zeros((2, 1000), np.float32)}, kept_logits())
    assert not found.ok
    assert "logits" in found.part
    assert not judged({"logits": np.zeros((2, 10), np.float32)}, kept_logits()).ok
    assert not judged({"logits": np.zeros((1, 1000), np.float32)}, kept_logits()).ok


def test_two_equal_classes_may_change_places() -> None:
    outputs = logits()
    first = outputs["logits"][0].argmax()
    outputs["logits"][0, 7] = outputs["logits"][0, first]
    kept = replace(keep_values(outputs, Slice(output="logits", best=True)), tolerances=TOLERANCES)
    other = {"logits": outputs["logits"].copy()}
    other["logits"][0, 7] += 1e-6
    assert judged(other, kept).ok
    assert judged(other, kept).agreed == 2
    other["logits"][1, 9] += 5.0
    assert judged(other, kept).agreed == 1


def test_small_probabilities_count() -> None:
    scores = np.random.default_rng(1).uniform(1e-5, 1e-3, (1, 80, 300)).astype(np.float32)
    part = Slice(output="y", log=True)
    kept = replace(keep_values({"y": scores}, part), tolerances=TOLERANCES)
    assert judged({"y": scores}, kept).ok
    swapped = scores.copy()
    swapped[:, [4, 50]] = swapped[:, [50, 4]]
    assert not judged({"y": swapped}, kept).ok


def test_means_are_of_each_axis() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    wanted = [*values.mean((1, 2)), *values.mean((0, 2)), *values.mean((0, 1))]
    np.testing.assert_allclose(means(values), wanted)
    assert len(means(np.zeros((1, 3, 2000)))) == 3 + 2 * 64
    assert len(means(np.zeros((1, 1)))) == 0


def detections(*rows: tuple[float, float, float, float, float, int]) -> dict[str, np.ndarray]:
    """x1 y1 x2 y2 score class."""
    boxes = np.zeros((1, 12, 4), np.float32)
    scores, classes = np.zeros((1, 12), np.float32), np.full((1, 12), -1, np.int64)
    for index, (*box, score, number) in enumerate(rows):
        boxes[0, index], scores[0, index], classes[0, index] = box, score, number
    return {"boxes": boxes, "scores": scores, "classes": classes, "count": np.array([len(rows)])}


ROWS = ((0.0, 0.0, 10.0, 10.0, 0.9, 1), (5.0, 5.0, 20.0, 20.0, 0.8, 2), (1.0, 1.0, 4.0, 4.0, 0.251, 1))


def kept_rows():
    spread = {"fp32": (1e-3, 1e-2, 1e-2), "fp16": (2e-2, 0.5, 0.5)}
    return replace(keep_rows(detections(*ROWS), SPEC), tolerances=spread)


def test_rows_in_another_order_agree() -> None:
    swapped = (ROWS[1], ROWS[0], ROWS[2])
    found = judged(detections(*swapped), kept_rows())
    assert found.ok
    assert found.agreed == found.answers == 6


def test_a_row_at_the_threshold_may_be_missing() -> None:
    near = (*ROWS[:2], (1.0, 1.0, 4.0, 4.0, 0.2502, 1))
    kept = replace(keep_rows(detections(*near), SPEC), tolerances=kept_rows().tolerances)
    assert judged(detections(*ROWS[:2]), kept).ok
    assert not judged(detections(ROWS[0], near[2]), kept).ok


@pytest.mark.parametrize(
    "wrong",
    [
        ((0.0, 0.0, 10.0, 10.5, 0.9, 1), ROWS[1], ROWS[2]),
        ((0.0, 0.0, 10.0, 10.0, 0.95, 1), ROWS[1], ROWS[2]),
        ((0.0, 0.0, 10.0, 10.0, 0.9, 3), ROWS[1], ROWS[2]),
        (*ROWS, (15.0, 15.0, 30.0, 30.0, 0.7, 0)),
        (),
    ],
)
def test_boxes_scores_classes_and_numbers_are_compared(wrong) -> None:
    assert not judged(detections(*wrong), kept_rows()).ok


def test_lower_precisions_may_lose_one_answer_in_ten() -> None:
    many = tuple((i * 5.0, 0.0, i * 5.0 + 5, 5.0, 0.9 - i / 100, 1) for i in range(6))
    kept = replace(
        keep_rows(detections(*many), SPEC), tolerances={"fp16": (2e-2, 0.5, 0.5), "fp32": (2e-2, 0.5, 0.5)}
    )
    assert judged(detections(*many[:5]), kept, "fp16").agreed == 10
    assert judged(detections(*many[:5]), kept, "fp16").answers == 11
    assert judged(detections(*many[:5]), kept, "fp16").ok
    assert not judged(detections(*many[:5]), kept, "fp32").ok
