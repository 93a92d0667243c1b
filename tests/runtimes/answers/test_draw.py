from __future__ import annotations

import itertools

import numpy as np
import pytest
from deploykit_runtimes.answers.draw import Canvas, class_color
from hypothesis import given, settings
from hypothesis import strategies as st


def changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the pixels that differ."""
    rows, columns = np.nonzero((before != after).any(2))
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def test_class_colours_differ() -> None:
    colors = [class_color(index) for index in range(80)]
    assert len(set(colors)) == 80
    for first, second in itertools.pairwise(colors):
        assert sum(abs(a - b) for a, b in zip(first, second, strict=True)) > 120


@pytest.mark.parametrize("corner", [(0, 0), (395, 2), (399, 299), (-50, -50), (200, 150)])
def test_labels_stay_inside_of_the_picture(corner) -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    canvas = Canvas(image)
    canvas.label("tabby cat 0.93", corner, (255, 0, 0))
    top, left, bottom, right = changed(image, canvas.array())
    inner = Canvas(image)
    inner.label("tabby cat 0.93", (150, 150), (255, 0, 0))
    whole = changed(image, inner.array())
    size = (bottom - top, right - left)
    wanted = (whole[2] - whole[0], whole[3] - whole[1])
    assert all(abs(a - b) <= 1 for a, b in zip(size, wanted, strict=True))  # nothing is cut off


@pytest.mark.parametrize("side", [32, 200, 1000, 4000])
def test_text_grows_with_the_picture(side) -> None:
    image = np.zeros((side, side, 3), np.uint8)
    canvas = Canvas(image)
    canvas.label("A", (side // 2, side // 2), (255, 255, 0))
    top, _, bottom, _ = changed(image, canvas.array())
    assert max(8, side / 60) <= bottom - top <= max(24, side / 20)


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    box=st.tuples(*[st.floats(-1e4, 1e4)] * 4),
    text=st.text(max_size=12).filter(lambda text: "\0" not in text),
)
def test_any_box_in_any_picture(height, width, box, text) -> None:
    canvas = Canvas(np.zeros((height, width, 3), np.uint8))
    canvas.box(box, (1, 2, 3))
    canvas.polygon(np.reshape(box, (2, 2)), (1, 2, 3))
    canvas.dots(np.reshape(box, (2, 2)), (1, 2, 3))
    canvas.label(text, box[:2], (1, 2, 3))
    canvas.panel([text, text], [(1, 2, 3)] * 2)
    assert canvas.array().shape == (height, width, 3)


def test_masks_tint_their_pixels_only() -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    canvas = Canvas(image)
    mask = np.zeros((20, 30), bool)
    mask[5:10, 6:12] = True
    canvas.mask(mask, (255, 0, 0))
    assert changed(image, canvas.array()) == (5, 6, 10, 12)
    assert canvas.array()[7, 7].tolist() == pytest.approx([170, 55, 55], abs=2)
