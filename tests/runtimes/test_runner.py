"""What every adapter refuses before its engine sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.runner import FiniteFeeds, check_feeds, is_finite
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

IMAGES = TensorInfo(name="images", dtype="float32", shape=("batch", 3, "height", "width"))


def images(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_value_that_is_no_number_is_named_with_its_place(
    classifier_spec: ModelSpec, value: float, dtype: str
) -> None:
    info = TensorInfo(name="images", dtype=dtype, shape=IMAGES.shape)
    tensor = images(2, 3, 8, 16, dtype=dtype)
    check_feeds(classifier_spec, (info,), {"images": tensor})
    tensor[1, 2, 3, 4:6] = value
    said = rf"NaN or infinity in 2 of 768 values, the first at \[1, 2, 3, 4\]: {value}"
    with pytest.raises(InputError, match=said):
        check_feeds(classifier_spec, (info,), {"images": tensor})


def test_infinities_of_both_signs_do_not_cancel(classifier_spec: ModelSpec) -> None:
    tensor = images(1, 3, 8, 8)
    tensor[0, 0, 0, :2] = np.inf, -np.inf
    with pytest.raises(InputError, match="in 2 of 192 values"):
        check_feeds(classifier_spec, (IMAGES,), {"images": tensor})


def test_large_numbers_are_numbers(classifier_spec: ModelSpec) -> None:
    largest = float(np.finfo(np.float32).max)
    check_feeds(classifier_spec, (IMAGES,), {"images": np.full((4, 3, 64, 64), largest, np.float32)})


def test_integers_and_strided_tensors_pass(classifier_spec: ModelSpec) -> None:
    raw = TensorInfo(name="images", dtype="uint8", shape=IMAGES.shape)
    check_feeds(classifier_spec, (raw,), {"images": np.zeros((1, 3, 8, 8), np.uint8)})
    last = images(1, 8, 8, 3).transpose(0, 3, 1, 2)
    check_feeds(classifier_spec, (IMAGES,), {"images": last})


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, r"takes the inputs \['images'\], found \[\]"),
        ({"images": images(1, 3, 8, 8), "conf": np.float32(0.5)}, r"found \['conf', 'images'\]"),
        ({"images": images(1, 3, 8, 8).astype(">f4")}, "wants float32, found >f4"),
        ({"images": images(1, 3, 8, 0)}, "accepts width 8..64"),
        ({"images": np.float32(1)}, "wants a numpy array, found float32"),
        ({"images": np.array(1, np.float32)}, "wants 4 axes, found a scalar"),
    ],
)
def test_feeds_that_are_not_declared(classifier_spec: ModelSpec, feeds: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_feeds(classifier_spec, (IMAGES,), feeds)


def test_an_element_type_that_numpy_does_not_know_is_refused(classifier_spec: ModelSpec) -> None:
    odd = TensorInfo(name="images", dtype="tensor(bfloat16)", shape=IMAGES.shape)
    with pytest.raises(InputError, match=r"wants tensor\(bfloat16\), found float32"):
        check_feeds(classifier_spec, (odd,), {"images": images(1, 3, 8, 8)})


@settings(max_examples=200, deadline=None)
@given(
    st_numpy.arrays(
        np.float32,
        st_numpy.array_shapes(max_dims=3, max_side=20),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_is_finite_is_numpys(array: np.ndarray) -> None:
    assert is_finite(array) == np.isfinite(array).all()


def test_feeds_made_of_pixels_are_not_searched_for_nan(classifier_spec: ModelSpec) -> None:
    feeds = {"images": np.full((1, 3, 8, 8), np.nan, np.float32)}
    with pytest.raises(InputError, match="NaN"):
        check_feeds(classifier_spec, (IMAGES,), feeds)
    check_feeds(classifier_spec, (IMAGES,), FiniteFeeds(feeds))
    with pytest.raises(InputError, match="wants float32"):
        check_feeds(classifier_spec, (IMAGES,), FiniteFeeds(images=feeds["images"].astype(np.float64)))
