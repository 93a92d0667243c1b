"""Means of whole maps, columns first."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from deploykit_exporters.passes.drop_unused import drop_unused
from deploykit_exporters.passes.pool_columns_first import pool_columns_first

MEAN = """
<ir_version: 8, opset_import: ["": 18]>
g (float[N, 32, {height}, {width}] images) => (float[N, C, H, W] pooled)
<int64[2] axes = {{{axes}}}>
{{
    map = Relu (images)
    pooled = ReduceMean <keepdims = {keep}> (map, axes)
}}
"""


def mean(height: str = "112", width: str = "96", axes: str = "2, 3", keep: int = 1) -> onnx.ModelProto:
    return onnx.parser.parse_model(MEAN.format(height=height, width=width, axes=axes, keep=keep))


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


@pytest.mark.parametrize("axes", ["2, 3", "-1, -2"])
def test_a_map_of_known_size_is_pooled_in_two_steps(axes: str) -> None:
    model = mean(axes=axes)
    assert pool_columns_first(model)
    drop_unused(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu", "AveragePool", "AveragePool"]
    assert not model.graph.initializer
    images = np.random.default_rng(0).random((2, 32, 112, 96), dtype=np.float32)
    exact = images.mean((2, 3), keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(run(model, images), exact, rtol=5e-7)


@pytest.mark.parametrize(
    "model",
    [mean(height="H"), mean(width="W"), mean(axes="1, 2"), mean(axes="0, 3"), mean(keep=0)],
    ids=["free rows", "free columns", "channels", "the batch", "flat"],
)
def test_other_means_stay(model: onnx.ModelProto) -> None:
    if model.graph.node[1].attribute[0].i == 0:
        del model.graph.output[0].type.tensor_type.shape.dim[2:]
    assert not pool_columns_first(model)
    assert [node.op_type for node in model.graph.node] == ["Relu", "ReduceMean"]
