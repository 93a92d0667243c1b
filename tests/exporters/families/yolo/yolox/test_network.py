"""The decoupled head against its formula, written out position by position."""

from __future__ import annotations

import math

import pytest
import torch
from deploykit_exporters.families.yolo.yolox.blocks import Style
from deploykit_exporters.families.yolo.yolox.network import STRIDES, YOLOXHead
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 2), width=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_rows_are_decoded_as_yolox_does(height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    head = YOLOXHead((4, 4, 4), 4, 2, Style(act=nn.SiLU)).eval()
    maps = [torch.randn(1, 4, height * scale, width * scale) for scale in (4, 2, 1)]
    with torch.no_grad():
        found = iter(head(maps)[0].tolist())
        for level, (x, stride) in enumerate(zip(maps, STRIDES, strict=True)):
            stem = head.stems[level](x)
            box = head.reg_convs[level](stem)
            classes = head.cls_preds[level](head.cls_convs[level](stem))[0]
            offsets, objectness = head.reg_preds[level](box)[0], head.obj_preds[level](box)[0, 0]
            for row in range(x.shape[2]):
                for column in range(x.shape[3]):
                    dx, dy, dw, dh = offsets[:, row, column].tolist()
                    expected = [
                        (dx + column) * stride,
                        (dy + row) * stride,
                        math.exp(dw) * stride,
                        math.exp(dh) * stride,
                        objectness[row, column].sigmoid().item(),
                        *classes[:, row, column].sigmoid().tolist(),
                    ]
                    assert next(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert next(found, None) is None
