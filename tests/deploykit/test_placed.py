"""What ``export`` takes without a keyword."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from deploykit_runtimes.errors import OptionError

from deploykit.placed import placed


@pytest.mark.parametrize(
    ("where", "settings", "found"),
    [
        ((), {}, {}),
        ((None,), {}, {}),
        (("a.onnx",), {}, {"output": "a.onnx"}),
        ((Path("a.onnx"),), {}, {"output": Path("a.onnx")}),
        ((224,), {}, {"imgsz": 224}),
        (((224, 320),), {}, {"imgsz": (224, 320)}),
        (([224, 320],), {}, {"imgsz": (224, 320)}),
        ((224, "a.onnx"), {}, {"imgsz": 224, "output": "a.onnx"}),
        (("a.onnx", 224), {}, {"imgsz": 224, "output": "a.onnx"}),
        ((torch.zeros(1, 3, 64, 96),), {}, {"imgsz": (64, 96)}),
        ((np.zeros((4, 3, 64, 96)),), {}, {"imgsz": (64, 96), "batch": 4}),
        (((torch.zeros(1, 3, 64, 96),),), {}, {"imgsz": (64, 96)}),
        ((torch.zeros(4, 3, 64, 96),), {"dynamic": True}, {"imgsz": (64, 96), "dynamic": True}),
        ((torch.zeros(4, 3, 8, 8),), {"dynamic": ["batch"]}, {"imgsz": (8, 8), "dynamic": ["batch"]}),
        (
            (torch.zeros(4, 3, 8, 8),),
            {"dynamic": "height"},
            {"imgsz": (8, 8), "batch": 4, "dynamic": "height"},
        ),
        ((torch.zeros(1, 8, 64, 64),), {}, {"imgsz": (64, 64)}),
    ],
)
def test_what_is_meant(where: tuple, settings: dict, found: dict) -> None:
    assert placed(where, settings) == found


@pytest.mark.parametrize(
    ("where", "settings", "told"),
    [
        (("a.onnx", "b.onnx"), {}, "output was given twice"),
        (("a.onnx",), {"output": "b.onnx"}, "output was given twice: 'b.onnx' and 'a.onnx'"),
        ((224,), {"imgsz": 64}, "imgsz was given twice"),
        ((torch.zeros(2, 3, 8, 8),), {"batch": 4}, "batch was given twice"),
        ((True,), {}, "found True"),
        ((2.5,), {}, "Wanted the file to write, or the size"),
        (((1, 3, 224, 224),), {}, "found \\(1, 3, 224, 224\\)"),
        (((1, 2, 3),), {}, "found"),
        ((torch.zeros(3, 8, 8),), {}, r"a tensor \[N, C, H, W\], found a torch Tensor of shape \(3, 8, 8\)"),
        ((torch.zeros(1, 224, 224, 3),), {}, r"looks like \[N, H, W, C\]"),
        ((torch.zeros(1, 3, 0, 8),), {}, "found a torch Tensor"),
        (({"a": 1},), {}, "found"),
    ],
)
def test_what_is_not(where: tuple, settings: dict, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        placed(where, settings)
