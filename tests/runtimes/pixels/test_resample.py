from __future__ import annotations

import cv2
import numpy as np
import pytest
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.pixels.resample import resize_opencv
from hypothesis import given, settings
from hypothesis import strategies as st

FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
SIDES = st.integers(1, 70)


@pytest.fixture(autouse=True)
def opencv_itself():
    """OpenCV's own arithmetic; Intel's IPP takes its place for bicubic in some builds."""
    used = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    yield
    cv2.ipp.setUseIPP(used)


def difference(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    wanted = cv2.resize(image, size[::-1], interpolation=FLAGS[interpolation])
    found = resize_opencv(image, size, interpolation)
    assert found.dtype == np.uint8
    return np.abs(wanted.astype(int) - found)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@settings(max_examples=150, deadline=None)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, seed=st.integers(0, 99))
def test_equals_opencv_to_the_bit(interpolation, height, width, new_height, new_width, seed) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert difference(image, (new_height, new_width), interpolation).max() == 0


@pytest.mark.parametrize("interpolation", ["bicubic", "area"])
@settings(max_examples=150, deadline=None)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, seed=st.integers(0, 99))
def test_equals_opencv_within_one(interpolation, height, width, new_height, new_width, seed) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert difference(image, (new_height, new_width), interpolation).max() <= 1


@pytest.mark.parametrize("interpolation", FLAGS)
def test_photos(photos, interpolation) -> None:
    for photo in photos.values():
        for size in ((640, 480), (224, 224), (photo.shape[0] // 2, photo.shape[1] // 2)):
            error = difference(photo, size, interpolation)
            assert error.max() <= (interpolation in ("bicubic", "area"))
            assert np.count_nonzero(error) <= 3e-3 * error.size


def test_bicubic_of_builds_with_ipp(photos) -> None:
    cv2.ipp.setUseIPP(True)
    assert difference(photos["cat"], (200, 333), "bicubic").max() <= 1


def test_same_size_is_the_image_itself(photos) -> None:
    assert resize_opencv(photos["cat"], photos["cat"].shape[:2], "bilinear") is photos["cat"]


def test_input_is_not_modified_and_may_be_a_view(photos) -> None:
    photo = photos["cat"]
    before = photo.copy()
    flipped = resize_opencv(photo[:, ::-1], (100, 90), "bilinear")
    np.testing.assert_array_equal(flipped, cv2.resize(np.ascontiguousarray(photo[:, ::-1]), (90, 100)))
    np.testing.assert_array_equal(photo, before)


def test_pillow_filters_are_refused(photos) -> None:
    with pytest.raises(ModelError, match="lanczos"):
        resize_opencv(photos["cat"], (10, 10), "lanczos")
