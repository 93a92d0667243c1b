from __future__ import annotations

import dataclasses
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from deploykit_runtimes.answers.results import (
    Classification,
    ClassScore,
    Detections,
    Features,
    OrientedDetections,
    Poses,
    Segmentation,
)
from deploykit_runtimes.errors import DependencyError, InputError

SIZE = (60, 80)
BOXES = np.array([[5, 10, 45, 50], [30, 0, 79, 59.5]], np.float32)
SHARED = {
    "boxes": BOXES,
    "scores": np.array([0.9, 0.5], np.float32),
    "class_ids": np.array([2, 0]),
    "names": ("cat", "dog"),
    "image_size": SIZE,
}


def make_masks() -> np.ndarray:
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:50, 5:45] = True
    return masks


def make_oriented() -> OrientedDetections:
    rotated = np.array([[40, 30, 20, 10, 0], [20, 20, 10, 10, 0]], np.float32)
    corners = np.array([[[50, 35], [50, 25], [30, 25], [30, 35]]] * 2, np.float32)
    return OrientedDetections(**SHARED, rotated=rotated, corners=corners)


def every_result() -> list:
    top = tuple(ClassScore(class_id=k, name=f"class {k}", score=1 / (k + 2)) for k in range(5))
    maps = (np.arange(24, dtype=np.float32).reshape(1, 4, 6), np.zeros((5, 8), np.float32))
    return [
        Classification(top=top, image_size=SIZE),
        Detections(**SHARED),
        Segmentation(**SHARED, masks=make_masks()),
        Poses(**SHARED, keypoints=np.full((2, 4, 3), 20, np.float32)),
        make_oriented(),
        Features(maps=maps, names=("map", "tokens"), image_size=SIZE),
    ]


@pytest.mark.parametrize("result", every_result(), ids=lambda result: type(result).__name__)
def test_every_result_is_plain_frozen_and_drawable(result) -> None:
    encoded = json.loads(json.dumps(result.to_dict()))
    assert encoded["image_size"] == list(SIZE)
    for field in dataclasses.fields(result):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, field.name, None)
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                value[...] = 0
    image = np.full((*SIZE, 3), 90, np.uint8)
    drawn = result.plot(image)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any()
    assert (image == 90).all()


def test_classification() -> None:
    result = every_result()[0]
    assert (result.label, result.score) == ("class 0", 0.5)
    assert result.to_dict()["top"][1] == {"class_id": 1, "name": "class 1", "score": 1 / 3}


def test_detections() -> None:
    result = Detections(**SHARED)
    assert len(result) == 2
    assert result.to_dict()["detections"][0] == {
        "class_id": 2,
        "name": "cat",
        "score": pytest.approx(0.9),
        "box": [5, 10, 45, 50],
    }


def test_arrays_of_the_caller_stay_the_callers() -> None:
    boxes = BOXES.copy()
    result = Detections(**{**SHARED, "boxes": boxes})
    boxes[:] = 0
    np.testing.assert_array_equal(result.boxes, BOXES)


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="2 detections cannot have 1 scores"):
        Detections(**{**SHARED, "scores": np.array([0.9], np.float32)})


def test_masks_become_run_lengths() -> None:
    entry = Segmentation(**SHARED, masks=make_masks()).to_dict()["detections"][0]
    assert entry["mask"]["size"] == [60, 80]
    assert sum(entry["mask"]["counts"]) == 60 * 80
    assert sum(entry["mask"]["counts"][1::2]) == 40 * 40


def test_no_detections() -> None:
    empty = {
        "boxes": np.zeros((0, 4), np.float32),
        "scores": np.zeros(0, np.float32),
        "class_ids": np.zeros(0, np.int64),
        "names": (),
        "image_size": SIZE,
    }
    image = np.zeros((*SIZE, 3), np.uint8)
    for result in (Detections(**empty), Segmentation(**empty, masks=np.zeros((0, *SIZE), bool))):
        assert result.to_dict()["detections"] == []
        np.testing.assert_array_equal(result.plot(image), image)


def test_plot_wants_the_image_of_the_result() -> None:
    with pytest.raises(InputError, match="belongs to a 60x80 image, found 80x60"):
        Detections(**SHARED).plot(np.zeros((80, 60, 3), np.uint8))


def test_to_supervision(monkeypatch) -> None:
    stand_in = SimpleNamespace(Detections=lambda **fields: fields)
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    fields = Segmentation(**SHARED, masks=make_masks()).to_supervision()
    np.testing.assert_array_equal(fields["xyxy"], BOXES)
    np.testing.assert_array_equal(fields["mask"], make_masks())
    assert fields["data"]["class_name"].tolist() == ["cat", "dog"]
    assert fields["xyxy"].flags.writeable
    oriented = make_oriented()
    np.testing.assert_array_equal(oriented.to_supervision()["data"]["xyxyxyxy"], oriented.corners)


def test_to_supervision_without_the_package(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(DependencyError, match="pip install supervision"):
        Detections(**SHARED).to_supervision()
