"""Operators that are written as they are: PyTorch runs what ONNX Runtime runs."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from deploykit_exporters.ingraph.operators import arange, crop, divide, pad, reshape
from torch import Tensor, nn
from torch.onnx.operators import shape_as_tensor


class Everything(nn.Module):
    """One of each, on numbers that depend on the shape of what comes in."""

    def forward(self, images: Tensor) -> Tensor:
        size = shape_as_tensor(images)[1:3]
        half = divide(size, 2)
        window = crop(images, half - 2, half + 1, 1)
        rows = reshape(window, torch.cat([torch.tensor([0, -1]), torch.tensor([3])]))
        picked = rows[:, arange(half[0])].to(torch.float32)
        return pad(picked[:, None], torch.tensor([1, 2]), half, 7.0)


def traced(module: nn.Module, *example: Tensor, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, example, buffer, dynamo=False, opset_version=18, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_pytorch_and_onnx_agree() -> None:
    example = torch.zeros(2, 8, 9, 3, dtype=torch.uint8)
    model = traced(Everything(), example, input_names=["images"], dynamic_axes={"images": [0, 1, 2]})
    graph = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for shape in ((2, 8, 9, 3), (1, 17, 6, 3), (3, 13, 40, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        wanted = Everything()(torch.from_numpy(images)).numpy()
        np.testing.assert_array_equal(graph.run(None, {"images": images})[0], wanted)


def test_each_is_one_operator() -> None:
    class Three(nn.Module):
        def forward(self, planes: Tensor, sizes: Tensor) -> Tensor:
            window = crop(planes, sizes, sizes + 2, 2)
            return reshape(pad(window, sizes, sizes, 0.0), torch.tensor([0, 0, -1]))

    model = onnx.load_from_string(traced(Three(), torch.zeros(1, 3, 8, 8), torch.tensor([1, 2])))
    nodes = [node.op_type for node in model.graph.node if node.op_type != "Constant"]
    assert sorted(nodes) == ["Add", "Concat", "Pad", "Reshape", "Slice"]
