"""The anchor head against the formula of the repository, written out position by position."""

from __future__ import annotations

import math

import pytest
import torch
from deploykit_exporters.families.yolo.grid import cells
from deploykit_exporters.families.yolo.yolov5.blocks import Attention
from deploykit_exporters.families.yolo.yolov5.network import Detect
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


def test_cells_are_columns_then_rows() -> None:
    grid = cells(torch.zeros(1, 7, 2, 3))
    assert grid.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@settings(deadline=None, max_examples=20)
@given(
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    anchors=st.integers(1, 3),
    classes=st.integers(1, 3),
    masks=st.integers(0, 2),
    in_pixels=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_rows_are_decoded_as_the_repository_does(
    height: int, width: int, anchors: int, classes: int, masks: int, in_pixels: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    strides = (8.0, 16.0)
    per_anchor = 5 + classes + masks
    sizes = 1 + 3 * torch.rand(2, anchors, 2)
    grid = (sizes * torch.tensor(strides)[:, None, None]).reshape(2, 1, anchors, 1, 1, 2)
    head = Detect(
        m=nn.ModuleList(nn.Identity() for _ in strides),
        anchors=sizes,
        strides=strides,
        num_classes=classes,
        masks=masks,
        anchor_grid=grid if in_pixels else None,
    )
    fine = torch.randn(1, anchors * per_anchor, 2 * height, 2 * width)
    coarse = torch.randn(1, anchors * per_anchor, height, width)
    found = iter(head([fine, coarse])[0].tolist())
    for level, x in enumerate((fine, coarse)):
        raw = x.reshape(anchors, per_anchor, *x.shape[2:])
        for anchor in range(anchors):
            for row in range(x.shape[2]):
                for column in range(x.shape[3]):
                    p = raw[anchor, :, row, column].tolist()
                    w, h = (sizes[level, anchor] * strides[level]).tolist()
                    expected = [
                        (2 * sigmoid(p[0]) - 0.5 + column) * strides[level],
                        (2 * sigmoid(p[1]) - 0.5 + row) * strides[level],
                        (2 * sigmoid(p[2])) ** 2 * w,
                        (2 * sigmoid(p[3])) ** 2 * h,
                        *map(sigmoid, p[4 : 5 + classes]),
                        *p[5 + classes :],
                    ]
                    assert next(found) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert next(found, None) is None


@pytest.mark.parametrize("bias", [True, False])
def test_attention_equals_torch(bias: bool) -> None:
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(12, 4, bias=bias).eval()
    ours = Attention(channels=12, heads=4, bias=bias).eval()
    ours.load_state_dict(reference.state_dict())
    query, key, value = (torch.randn(5, 2, 12) for _ in range(3))
    with torch.no_grad():
        torch.testing.assert_close(ours(query, key, value), reference(query, key, value)[0])
