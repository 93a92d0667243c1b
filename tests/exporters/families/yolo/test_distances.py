"""Expected distances against Ultralytics' own module."""

from __future__ import annotations

import pytest
import torch
from deploykit_exporters.families.yolo.distances import ExpectedDistances
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 3), st.integers(2, 32), st.integers(1, 50), st.sampled_from([0.1, 3.0, 80.0, 1e4]))
def test_it_equals_a_softmax_and_a_convolution(batch: int, bins: int, anchors: int, spread: float) -> None:
    from ultralytics.nn.modules.block import DFL

    theirs = DFL(bins)
    logits = torch.randn(batch, 4 * bins, anchors, generator=torch.Generator().manual_seed(bins)) * spread
    found = ExpectedDistances(theirs.conv.weight)(logits)
    torch.testing.assert_close(found, theirs(logits), rtol=1e-5, atol=1e-5)


def test_bins_of_other_values_count() -> None:
    found = ExpectedDistances(torch.tensor([2.0, 4.0]))(torch.zeros(1, 8, 3))
    assert found.tolist() == [[[3.0] * 3] * 4]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_visible(bad: float) -> None:
    logits = torch.zeros(1, 8, 3)
    logits[0, 1, 2] = bad
    found = ExpectedDistances(torch.arange(2.0))(logits)
    assert found[0, 0, 2].isnan()
    assert found[..., :2].isfinite().all()
