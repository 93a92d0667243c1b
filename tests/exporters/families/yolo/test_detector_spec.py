"""Sizes, ranges and names shared by the detectors with objectness."""

from __future__ import annotations

import pytest
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.shared.coco import COCO_NAMES
from deploykit_exporters.families.yolo.detector_spec import (
    class_names,
    detection_groups,
    dynamic_axes,
    image_size,
    refuse_features,
)
from deploykit_runtimes.errors import OptionError
from hypothesis import given
from hypothesis import strategies as st


def test_coco_has_eighty_distinct_names() -> None:
    assert len(set(COCO_NAMES)) == len(COCO_NAMES) == 80


@given(names=st.lists(st.text(), max_size=5), count=st.integers(1, 5))
def test_names_are_taken_when_there_is_one_for_every_class(names: list[str], count: int) -> None:
    expected = tuple(names) if len(names) == count else ()
    assert class_names(Hints(), names, count) == expected
    by_index = dict(reversed(list(enumerate(names))))
    assert class_names(Hints(), by_index, count) == (tuple(names[:count]) if len(names) >= count else ())


@pytest.mark.parametrize("names", [None, "abc", 3, [1, None, 3], {0: "a", 2: "c", 3: "d"}, object()])
def test_names_of_another_kind_are_no_names(names: object) -> None:
    assert class_names(Hints(), names, 3) == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"0": "a", "1": "b"}, ("a", "b")),
        ({1: "b", 0: "a"}, ("a", "b")),
        ({0: 0, 1: 1}, ("0", "1")),
        ([7, 8.5], ("7", "8.5")),
    ],
)
def test_text_as_keys_and_numbers_as_names(names: object, expected: tuple[str, ...]) -> None:
    assert class_names(Hints(), names, 2) == expected


def test_labels_replace_names_and_must_be_complete() -> None:
    assert class_names(Hints(labels=("x", "y")), ["a", "b"], 2) == ("x", "y")
    with pytest.raises(OptionError, match="names 2 classes, the model has 3"):
        class_names(Hints(labels=("x", "y")), None, 3)


@given(height=st.integers(-40, 200), width=st.integers(-40, 200))
def test_sizes_are_multiples_of_the_stride(height: int, width: int) -> None:
    fits = height > 0 and width > 0 and height % 32 == 0 and width % 32 == 0
    hints = Hints(imgsz=(height, width))
    if fits:
        assert image_size(hints, (640, 640), 32) == (height, width)
        axes = dynamic_axes((height, width), 32)
        assert height in axes["height"]
        assert width in axes["width"]
    else:
        with pytest.raises(OptionError, match="is not a multiple of the model's stride 32"):
            image_size(hints, (640, 640), 32)


def test_the_models_own_size_is_the_default() -> None:
    assert image_size(Hints(), (384, 640), 64) == (384, 640)


def test_detectors_export_their_heads() -> None:
    refuse_features(Hints())
    with pytest.raises(OptionError, match="--features is not available for YOLO"):
        refuse_features(Hints(features=True))


def test_groups_cover_every_channel_once() -> None:
    spans = [(group.start, group.stop) for group in detection_groups("predictions", 3, 32)]
    assert spans == [(0, 4), (4, 8), (8, 40)]
    assert len(detection_groups("predictions", 3)) == 2
