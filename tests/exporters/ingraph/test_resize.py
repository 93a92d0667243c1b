from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from deploykit_exporters.ingraph.opencv import OPENCV, resize_opencv
from deploykit_exporters.ingraph.pillow import PILLOW, resize_pillow
from deploykit_exporters.ingraph.resize import Part
from deploykit_runtimes.pixels import resample
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SIDES = st.integers(1, 90)
FILTERS = {name: Image.Resampling[name.upper()] for name in PILLOW}


def part(source, resized, start=None, stop=None, corner=(0, 0), **known) -> Part:
    length = [last - first for first, last in zip(start or (0, 0), stop or resized, strict=True)]
    corner, source, resized, length = (torch.tensor(sizes) for sizes in (corner, source, resized, length))
    return Part(corner, source, resized, start and torch.tensor(start), length, **known)


def pillow(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Width first, in every version."""
    wide = Image.fromarray(image).resize((size[1], image.shape[0]), FILTERS[interpolation])
    return np.asarray(wide.resize(size[::-1], FILTERS[interpolation]))


def resized(function, image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    images = torch.tensor(image.astype(np.float32))[None]
    planes = function(images, part(image.shape[:2], size), interpolation)
    assert planes.shape == (1, 3, *size)
    return planes[0].permute(1, 2, 0).numpy()


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", PILLOW)
@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, seed=st.integers(0, 99))
def test_equals_pillow(interpolation, height, width, new_height, new_width, seed) -> None:
    """On noise, where a level of the first pass that rounds the other way can count double in the second."""
    image, size = noise(height, width, seed), (new_height, new_width)
    found = resized(resize_pillow, image, size, interpolation)
    error = np.abs(found - pillow(image, size, interpolation))
    assert error.max() <= (1 if interpolation == "bilinear" else 2)
    assert np.count_nonzero(error) <= 4 + 4e-3 * error.size


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
    ("function", "interpolation"),
    [(resize_pillow, "bicubic"), (resize_opencv, "bilinear"), (resize_opencv, "bicubic")],
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_part_equals_that_part_of_the_whole(function, interpolation, data) -> None:
    """Of the photo and of the result, whatever is known beforehand about its size."""
    photo = data.draw(st.tuples(SIDES, SIDES))
    corner, start = (data.draw(st.tuples(*(st.integers(0, n - 1) for n in photo))) for _ in range(2))
    source = [n - first for n, first in zip(photo, corner, strict=True)]
    new = [data.draw(st.integers(first + 1, 90)) for first in start]
    stop = tuple(data.draw(st.integers(first + 1, last)) for first, last in zip(start, new, strict=True))
    length = tuple(last - first for first, last in zip(start, stop, strict=True))
    known = data.draw(st.sampled_from([{}, {"most": 91}, {"most": max(length), "fixed": length}]))
    image = torch.tensor(noise(*photo, 1))[None]
    cut = function(image, part(source, new, start, stop, corner, **known), interpolation)
    everything = function(image[:, corner[0] :, corner[1] :], part(source, new), interpolation)
    assert torch.equal(cut, everything[:, :, start[0] : stop[0], start[1] : stop[1]])


def test_all_of_a_photo_need_not_be_copied(photos) -> None:
    image = torch.tensor(photos["coffee"])[None]
    both = [
        resize_pillow(image, part(image.shape[1:3], (70, 96)), "bicubic", whole=whole)
        for whole in (True, False)
    ]
    assert torch.equal(*both)


@pytest.mark.parametrize(
    ("function", "interpolation"), [(resize_pillow, "bicubic"), (resize_opencv, "bilinear")]
)
def test_the_middle_of_a_very_long_result(function, interpolation) -> None:
    """Where the products of positions and sizes exceed 31 bits; a graph may not rely on more."""
    source, resized, start = (16000, 3), (16000 * 60, 224), (479_888, 0)
    image = torch.tensor(noise(*source, 0))[None]
    middle = function(image, part(source, resized, start, (start[0] + 224, 224)), interpolation)
    # The same from the few pixels around it, at the same scale.
    first = start[0] // 60 - 16
    near = image[:, first : first + 40]
    wanted = function(near, part((40, 3), (40 * 60, 224)), interpolation)
    offset = start[0] - 60 * first
    assert torch.equal(middle, wanted[:, :, offset : offset + 224])


def test_same_size_changes_nothing(photos) -> None:
    photo = photos["cat_small"]
    for function, filters in ((resize_pillow, PILLOW), (resize_opencv, OPENCV)):
        for interpolation in filters:
            np.testing.assert_array_equal(
                resized(function, photo, photo.shape[:2], interpolation), photo, strict=False
            )
