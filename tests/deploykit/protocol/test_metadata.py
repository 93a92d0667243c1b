"""The metadata that a server gives of a model."""

from __future__ import annotations

import pytest
from deploykit_runtimes.contract.tensors import TensorInfo

from deploykit.protocol.errors import UnsupportedError
from deploykit.protocol.metadata import model_metadata


def test_axes_of_variable_length_are_minus_one() -> None:
    images = TensorInfo(name="images", dtype="float32", shape=("batch", 3, "height", 8))
    told = model_metadata("m", "2", [images], [TensorInfo(name="n", dtype="int64", shape=())])
    assert told == {
        "name": "m",
        "versions": ["2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 3, -1, 8]}],
        "outputs": [{"name": "n", "datatype": "INT64", "shape": []}],
    }


def test_a_tensor_without_a_datatype_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no datatype"):
        model_metadata("m", "1", [TensorInfo(name="x", dtype="complex64", shape=())], [])
