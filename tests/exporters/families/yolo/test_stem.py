"""Deployment forms of stems and pooling against the operators that they replace."""

from __future__ import annotations

import pytest
import torch
from deploykit_exporters.families.yolo.stem import SpatialPyramidPooling, focus, focus_convolution
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F


def test_focus_takes_the_corners_in_order() -> None:
    image = torch.arange(4.0).reshape(1, 1, 2, 2)  # top left, top right, bottom left, bottom right
    assert focus(image).flatten().tolist() == [0, 2, 1, 3]


@settings(deadline=None, max_examples=30)
@given(
    channels=st.integers(1, 4),
    outputs=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, 5]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_focus_stem_is_one_convolution(
    channels: int, outputs: int, kernel: int, height: int, width: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(4 * channels, outputs, kernel, padding=kernel // 2, bias=bias)
    image = torch.randn(2, channels, 2 * height, 2 * width)
    with torch.no_grad():
        torch.testing.assert_close(focus_convolution(conv)(image), conv(focus(image)), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    windows=st.lists(st.integers(0, 8).map(lambda n: 2 * n + 1), min_size=1, max_size=4, unique=True),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    seed=st.integers(0, 2**31),
)
def test_a_pyramid_equals_its_poolings(windows: list[int], height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    windows.sort()
    x = torch.randn(2, 3, height, width)
    direct = [x, *(F.max_pool2d(x, side, stride=1, padding=side // 2) for side in windows)]
    assert torch.equal(SpatialPyramidPooling(tuple(windows))(x), torch.cat(direct, dim=1))


@pytest.mark.parametrize("windows", [(4,), (5, 8), (9, 5)])
def test_windows_that_no_pooling_series_gives(windows: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="odd and growing"):
        SpatialPyramidPooling(windows)
