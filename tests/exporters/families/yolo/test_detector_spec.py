"""Sizes and ranges shared by the detectors with objectness."""

from __future__ import annotations

import pytest
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.yolo.detector_spec import (
    detection_groups,
    dynamic_axes,
    image_size,
    refuse_features,
)
from deploykit_runtimes.errors import OptionError
from hypothesis import given
from hypothesis import strategies as st


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
