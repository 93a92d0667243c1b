from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from deploykit_exporters.graph.resize import OPENCV, PILLOW, Span, resize_opencv, resize_pillow
from deploykit_runtimes import resample
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SIDES = st.integers(1, 90)
FILTERS = {name: Image.Resampling[name.upper()] for name in PILLOW}


def whole(source: int, resized: int) -> Span:
    return part(source, resized, 0, resized)


def part(source: int, resized: int, start: int, stop: int) -> Span:
    return Span(*(torch.tensor(n) for n in (source, resized, start, stop)))


def pillow(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Width first, in every version."""
    wide = Image.fromarray(image).resize((size[1], image.shape[0]), FILTERS[interpolation])
    return np.asarray(wide.resize(size[::-1], FILTERS[interpolation]))


def resized(function, image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    spans = [whole(n, m) for n, m in zip(image.shape[:2], size, strict=True)]
    planes = function(torch.tensor(image.astype(np.float32))[None], *spans, interpolation)
    assert planes.shape == (1, 3, *size)
    return planes[0].permute(1, 2, 0).numpy()


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", PILLOW)
@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, seed=st.integers(0, 99))
def test_equals_pillow(interpolation, height, width, new_height, new_width, seed) -> None:
    image, size = noise(height, width, seed), (new_height, new_width)
    found = resized(resize_pillow, image, size, interpolation)
    error = np.abs(found - pillow(image, size, interpolation))
    assert error.max() <= 1
    assert np.count_nonzero(error) <= 1 + 1e-3 * error.size


@pytest.mark.parametrize("interpolation", PILLOW)
def test_equals_pillow_on_photos(photos, interpolation) -> None:
    for photo in photos.values():
        for size in ((224, 224), (300, 451), (photo.shape[0] // 2, photo.shape[1] // 2)):
            found = resized(resize_pillow, photo, size, interpolation)
            error = np.abs(found - pillow(photo, size, interpolation))
            assert error.max() <= 1
            assert np.mean(error == 0) > 0.9998


@pytest.mark.parametrize("interpolation", PILLOW)
@pytest.mark.parametrize("size", [(200, 300), (200, 400), (225, 375), (450, 900), (400, 500)])
def test_simple_ratios_where_many_sums_end_in_a_half(photos, interpolation, size) -> None:
    image = photos["coffee"][:300, :600]
    error = np.abs(resized(resize_pillow, image, size, interpolation) - pillow(image, size, interpolation))
    assert error.max() <= (interpolation == "lanczos")
    assert np.mean(error == 0) > 0.9998


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, seed=st.integers(0, 99))
def test_opencv_bilinear_to_the_bit(height, width, new_height, new_width, seed) -> None:
    image, size = noise(height, width, seed), (new_height, new_width)
    error = np.abs(
        resized(resize_opencv, image, size, "bilinear") - resample.resize_opencv(image, size, "bilinear")
    )
    assert error.max() <= 1
    assert np.count_nonzero(error) <= 1 + 1e-3 * error.size


@pytest.mark.parametrize("interpolation", OPENCV)
def test_opencv_on_photos(photos, interpolation) -> None:
    flag = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[interpolation]
    for photo in photos.values():
        for size in ((640, 480), (224, 224), (photo.shape[0] // 2, photo.shape[1] // 2)):
            found = resized(resize_opencv, photo, size, interpolation)
            host = resample.resize_opencv(photo, size, interpolation)
            assert np.abs(found - cv2.resize(photo, size[::-1], interpolation=flag)).max() <= 1
            assert np.abs(found - host).max() <= 1
            assert np.mean(found == host) > 0.9999


@pytest.mark.parametrize("length", [1000, 4095, 20000])
def test_opencv_weights_of_long_sides(length) -> None:
    image = noise(3, length, 0)
    found = resized(resize_opencv, image, (3, 640), "bilinear")
    np.testing.assert_array_equal(found, cv2.resize(image, (640, 3)))


@pytest.mark.parametrize(
    ("function", "interpolation"), [(resize_pillow, "bicubic"), (resize_opencv, "bilinear")]
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_part_equals_that_part_of_the_whole(function, interpolation, data) -> None:
    sides = [(data.draw(SIDES), data.draw(SIDES)) for _ in range(2)]
    ranges = []
    for _, new in sides:
        start = data.draw(st.integers(0, new - 1))
        ranges.append((start, data.draw(st.integers(start + 1, new))))
    image = torch.tensor(noise(sides[0][0], sides[1][0], 1))[None]
    everything = function(image, *(whole(*side) for side in sides), interpolation)
    cut = function(
        image, *(part(*side, *span) for side, span in zip(sides, ranges, strict=True)), interpolation
    )
    rows, columns = (slice(*span) for span in ranges)
    assert torch.equal(cut, everything[:, :, rows, columns])


def test_same_size_changes_nothing(photos) -> None:
    photo = photos["cat_small"]
    for function, filters in ((resize_pillow, PILLOW), (resize_opencv, OPENCV)):
        for interpolation in filters:
            np.testing.assert_array_equal(
                resized(function, photo, photo.shape[:2], interpolation), photo, strict=False
            )
