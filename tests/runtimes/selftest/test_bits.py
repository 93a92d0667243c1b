"""Numbers and pictures that every language makes alike."""

from __future__ import annotations

import numpy as np
import pytest
from deploykit_runtimes.selftest import bits
from hypothesis import given
from hypothesis import strategies as st


def test_the_generator_is_splitmix64() -> None:
    """The first numbers from 1234567, as the reference implementations of the algorithm give them."""
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert bits.random_numbers(1234567, 4).tolist() == wanted


def test_noise_is_the_highest_byte_in_the_order_of_memory() -> None:
    pixels = bits.noise(5, (2, 3, 4, 3))
    assert pixels.shape == (2, 3, 4, 3)
    assert pixels.reshape(-1).tolist() == [number >> 56 for number in bits.random_numbers(5, 72).tolist()]


def test_views_of_a_picture_are_mirrored_and_upside_down() -> None:
    picture = bits.noise(1, (1, 6, 8, 3))[0]
    one, mirrored, turned, both, again = bits.views(picture, (5, 6, 8, 3))
    np.testing.assert_array_equal(one, picture)
    np.testing.assert_array_equal(mirrored, picture[:, ::-1])
    np.testing.assert_array_equal(turned, picture[::-1])
    np.testing.assert_array_equal(both, picture[::-1, ::-1])
    np.testing.assert_array_equal(again, picture)


def test_further_channels_are_turned_colours() -> None:
    picture = bits.noise(1, (1, 6, 16, 3))[0]
    found = bits.views(picture, (1, 6, 16, 5))[0]
    np.testing.assert_array_equal(found[..., :3], picture)
    np.testing.assert_array_equal(found[..., 3], np.roll(picture[..., 0], 7, axis=1))
    assert bits.views(picture, (1, 6, 16, 1)).shape == (1, 6, 16, 1)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90))
def test_a_scaled_picture_stays_between_its_neighbours(h: int, w: int, height: int, width: int) -> None:
    picture = bits.noise(h * 41 + w, (1, h, w, 1))[0]
    scaled = bits.views(picture, (1, height, width, 1))[0].astype(float)
    assert scaled.shape == (height, width, 1)
    rows = np.clip((np.arange(height) + 0.5) * h / height - 0.5, 0, h - 1)
    columns = np.clip((np.arange(width) + 0.5) * w / width - 0.5, 0, w - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - top)[:, None], (columns - left)[None]
    below, behind = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    plane = picture[..., 0].astype(float)
    exact = (plane[top][:, left] * (1 - right) + plane[top][:, behind] * right) * (1 - down)
    exact += (plane[below][:, left] * (1 - right) + plane[below][:, behind] * right) * down
    assert np.abs(scaled[..., 0] - exact).max() <= 0.5 + 2 * 255 / 256


@given(st.integers(1, 5000), st.integers(1, 300))
def test_one_sample_in_each_stretch(size: int, count: int) -> None:
    found = bits.positions(size, count)
    assert len(found) == min(size, count)
    assert (np.diff(found) > 0).all()
    assert found[0] >= 0
    assert found[-1] < size
    if size > count:
        index = np.arange(count)
        assert ((index * size // count <= found) & (found < (index + 1) * size // count)).all()


@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
def test_softened_pixels_are_towards_grey(halvings: int) -> None:
    pixels = np.arange(256, dtype=np.uint8)
    found = bits.softened(pixels, halvings)
    wanted = np.floor(128 + (pixels.astype(float) - 128) / 2**halvings)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)
