"""The comparison of answers: what it lets pass, and what it must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deploykit_exporters.proof.answers import SCORE_LIMIT, answer_photos, compare_answers, prove_answers
from deploykit_runtimes.answers.results import (
    Classification,
    ClassScore,
    Detections,
    Features,
    Poses,
    Segmentation,
)
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.testing import FakeRunner

OUTPUT = OutputSpec(names=("predictions",), layout="yolo", conf=0.25, iou=0.7, max_det=4)


def classes(*scores: float) -> Classification:
    order = np.argsort([-score for score in scores], kind="stable")
    top = tuple(ClassScore(class_id=int(i), name=f"class {i}", score=scores[i]) for i in order)
    return Classification(top=top, image_size=(30, 40))


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(
        boxes=table[:, :4],
        scores=table[:, 4],
        class_ids=table[:, 5].astype(np.int64),
        names=tuple(f"class {int(row[5])}" for row in rows),
        image_size=(300, 400),
    )


CAT = (10.0, 20.0, 110.0, 220.0, 0.9, 0)
DOG = (200.0, 50.0, 300.0, 150.0, 0.8, 1)


def test_equal_answers_differ_by_nothing() -> None:
    found = compare_answers(boxes(CAT, DOG), boxes(CAT, DOG), OUTPUT)
    assert (found.images, found.score, found.box, found.borderline) == (1, 0.0, 0.0, 0)
    assert compare_answers(classes(0.7, 0.2, 0.1), classes(0.7, 0.2, 0.1), OUTPUT).score == 0


def test_the_largest_differences_are_told() -> None:
    moved = (10.25, *CAT[1:4], 0.9005, 0)
    found = compare_answers(boxes(CAT, DOG), boxes(moved, DOG), OUTPUT)
    assert found.box == pytest.approx(0.25)
    assert found.score == pytest.approx(0.0005, rel=1e-3)


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        (classes(0.7, 0.3), classes(0.69, 0.31), "score"),
        (classes(0.50004, 0.49996), classes(0.49998, 0.50002), None),
        (classes(0.5003, 0.4997), classes(0.4999, 0.5001), "best class"),
        (boxes(CAT, DOG), boxes(CAT), "lacks"),
        (boxes(CAT), boxes(CAT, DOG), "adds"),
        (boxes(CAT), boxes((*CAT[:5], 1)), "lacks"),
        (boxes(CAT), boxes((*CAT[:4], 0.89, 0)), "score"),
        (boxes(CAT), boxes((14.0, *CAT[1:])), "lacks"),
        (boxes(CAT), classes(0.5, 0.5), "gives"),
    ],
)
def test_what_is_too_far_apart(expected: object, found: object, words: str | None) -> None:
    if words is None:
        compare_answers(expected, found, OUTPUT)  # type: ignore[arg-type]
        return
    with pytest.raises(ParityError, match=words):
        compare_answers(expected, found, OUTPUT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lonely",
    [
        pytest.param((50.0, 50.0, 90.0, 90.0, 0.2505, 0), id="score at the threshold"),
        pytest.param((10.0, 20.0, 110.0, 160.4, 0.85, 0), id="overlap at the threshold"),
        pytest.param((281.3, 0.0, 365.8, 0.0, 0.37, 0), id="outside the image"),
    ],
)
def test_a_detection_at_a_threshold_may_be_on_one_side_only(
    lonely: tuple[float, float, float, float, float, int],
) -> None:
    assert compare_answers(boxes(CAT, lonely), boxes(CAT), OUTPUT).borderline == 1
    assert compare_answers(boxes(CAT), boxes(CAT, lonely), OUTPUT).borderline == 1


def test_the_last_place_may_go_to_either_of_two_equals() -> None:
    places = [(float(60 * i), 0.0, 60.0 * i + 40, 40.0, 0.9 - i / 10, 0) for i in range(3)]
    one, other = (320.0, 200.0, 390.0, 290.0, 0.5, 0), (320.0, 100.0, 390.0, 190.0, 0.5004, 0)
    assert compare_answers(boxes(*places, one), boxes(*places, other), OUTPUT).borderline == 2


def test_keypoints_and_masks_are_compared() -> None:
    shared = {"boxes": boxes(CAT).boxes, "scores": boxes(CAT).scores, "class_ids": np.array([0])}
    names, size = ("class 0",), (300, 400)
    points = np.full((1, 5, 3), 50, np.float32)
    pose = Poses(**shared, names=names, image_size=size, keypoints=points)
    assert compare_answers(pose, replace(pose, keypoints=points + 0.125), OUTPUT).box == 0.125
    mask = np.zeros((1, 300, 400), bool)
    mask[:, 30:200, 20:100] = True
    segment = Segmentation(**shared, names=names, image_size=size, masks=mask)
    compare_answers(segment, replace(segment, masks=np.roll(mask, 1, axis=1)), OUTPUT)
    with pytest.raises(ParityError, match="mask"):
        compare_answers(segment, replace(segment, masks=np.roll(mask, 40, axis=1)), OUTPUT)


def test_feature_maps_are_compared_by_their_own_scale() -> None:
    maps = (np.linspace(-100, 100, 60, dtype=np.float32).reshape(3, 4, 5),)
    features = Features(maps=maps, names=("stage1",), image_size=(30, 40))
    moved = replace(features, maps=(maps[0] + 0.5,))
    assert compare_answers(features, moved, OUTPUT).score == pytest.approx(0.005)
    with pytest.raises(ParityError, match="feature map"):
        compare_answers(features, replace(features, maps=(maps[0] * 1.1,)), OUTPUT)


def test_the_image_that_differs_is_named() -> None:
    spec = ModelSpec(
        task="classify",
        family="any",
        variant="any",
        origin="any",
        input=InputSpec(height=8, width=8),
        preprocess=Preprocess(resize="stretch", resize_to=(8, 8)),
        output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
        num_classes=3,
    )

    def runner(bias: float) -> FakeRunner:
        def logits(images: np.ndarray) -> dict[str, np.ndarray]:
            mean = images.mean((1, 2, 3))
            return {"logits": np.stack([mean, 1 - mean + bias, 0 * mean], 1).astype(np.float32)}

        return FakeRunner(spec, logits)

    images = answer_photos()
    assert len({image.shape for image in images.values()}) == 3
    same = prove_answers(Predictor(runner(0)), Predictor(runner(1e-4)), images, OUTPUT)
    assert same.images == len(images)
    assert 0 < same.score < SCORE_LIMIT
    with pytest.raises(ParityError, match=r"photo \(300x451\)"):
        prove_answers(Predictor(runner(0)), Predictor(runner(0.5)), images, OUTPUT)


@pytest.mark.parametrize(("pixels", "allowed"), [(0, True), (12, True), (40, False)])
def test_a_detection_whose_mask_is_a_few_pixels_may_be_on_one_side_only(
    pixels: int, *, allowed: bool
) -> None:
    """Ultralytics keeps those with a mask: one at the threshold falls to either side by rounding."""
    mask = np.zeros((1, 300, 400), bool)
    mask[0, 100, 50 : 50 + pixels] = True
    one = boxes((40.0, 90.0, 150.0, 110.0, 0.6, 0))
    segment = Segmentation(
        boxes=one.boxes,
        scores=one.scores,
        class_ids=one.class_ids,
        names=one.names,
        image_size=one.image_size,
        masks=mask,
    )
    none = Segmentation(
        boxes=one.boxes[:0],
        scores=one.scores[:0],
        class_ids=one.class_ids[:0],
        names=(),
        image_size=one.image_size,
        masks=mask[:0],
    )
    if allowed:
        assert compare_answers(segment, none, OUTPUT).borderline == 1
        assert compare_answers(none, segment, OUTPUT).borderline == 1
    else:
        with pytest.raises(ParityError, match="the file lacks a detection"):
            compare_answers(segment, none, OUTPUT)
