"""Position embeddings by matrix products, against torch's own interpolation."""

from __future__ import annotations

import pytest
import torch
from deploykit_exporters.families.vit.positions import GridPositions, Resampling, cubic_weights, resample_grid
from hypothesis import given, settings
from hypothesis import strategies as st

WAYS = [
    Resampling(antialias=True),
    Resampling(antialias=False),
    Resampling(antialias=False, align_corners=True),
    Resampling(antialias=False, offset=0.1),
    Resampling(antialias=True, offset=0.1),
]
# From two: torch's antialiased CPU kernel is wrong for results of one column (vit/family.py allows none).
SIDES = st.integers(2, 40)


@given(
    rows=st.integers(1, 16), columns=st.integers(1, 16), height=SIDES, width=SIDES, way=st.sampled_from(WAYS)
)
@settings(max_examples=150, deadline=None)
def test_equals_torch_at_every_size(
    rows: int, columns: int, height: int, width: int, way: Resampling
) -> None:
    generator = torch.Generator().manual_seed(rows * 41 + columns)
    grid = torch.randn(rows, columns, 8, generator=generator)
    expected = resample_grid(grid, (height, width), way)
    found = GridPositions(grid, way)(height, width)
    assert found.shape == expected.shape == (1, height * width, 8)
    # An offset is not a whole number: its scale is rounded.
    tolerance = 2e-5 if way.offset else 5e-6
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("grid", [(14, 14), (7, 12), (1, 1), (37, 37)])
def test_the_trained_size_is_exact(way: Resampling, grid: tuple[int, int]) -> None:
    positions = torch.randn(*grid, 16)
    assert torch.equal(GridPositions(positions, way)(*grid), positions.reshape(1, -1, 16))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_constant_stays_constant(way: Resampling) -> None:
    ones = torch.ones(9, 9, 1)
    for side in (1, 3, 8, 20, 64):
        torch.testing.assert_close(GridPositions(ones, way)(side, side), torch.ones(1, side * side, 1))


def test_shrinking_widens_the_antialiased_kernel() -> None:
    weights = cubic_weights(4, 16, WAYS[0])
    assert weights.shape == (4, 16)
    assert (weights[1] != 0).sum() > 8
    assert (cubic_weights(4, 16, WAYS[1])[1] != 0).sum() <= 4


def test_it_says_how() -> None:
    assert [str(way) for way in WAYS] == [
        "bicubic, antialiased",
        "bicubic, not antialiased",
        "bicubic, not antialiased, corners aligned",
        "bicubic, not antialiased, scaled to 0.1 patches more",
        "bicubic, antialiased, scaled to 0.1 patches more",
    ]
