"""The weights of a model in a file of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.bisect.weights import WEIGHTS, move_weights
from onnx import TensorProto, helper, numpy_helper

LARGE = np.arange(3000, dtype=np.float32).reshape(60, 50)


def model_of(tensor: TensorProto) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("large", tensor.data_type, list(tensor.dims))
    small = numpy_helper.from_array(np.ones(4, np.float32), "small")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["large"], ["out"])], "g", [], [value], [tensor, small]
    )
    graph.output[0].name = "out"
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def listed() -> TensorProto:
    return helper.make_tensor("large", TensorProto.FLOAT, LARGE.shape, LARGE.ravel().tolist())


@pytest.mark.parametrize("form", ["raw", "listed", "beside", "4 bits"])
def test_every_form_of_storage(tmp_path: Path, form: str) -> None:
    tensor = listed() if form == "listed" else numpy_helper.from_array(LARGE, "large")
    if form == "4 bits":
        tensor = helper.make_tensor(
            "large", TensorProto.INT4, [60, 50], (LARGE.ravel() % 8).astype(int).tolist()
        )
    expected = numpy_helper.to_array(tensor)
    model, path, folder = model_of(tensor), tmp_path / "model.onnx", tmp_path / "parts"
    folder.mkdir()
    if form == "beside":
        onnx.save(model, path, save_as_external_data=True, location="data", size_threshold=100)
    else:
        onnx.save(model, path)
    found = move_weights(path, folder / WEIGHTS)
    large, small = found.graph.initializer
    assert (large.raw_data, list(large.float_data), large.data_location) == (b"", [], TensorProto.EXTERNAL)
    assert small.data_location != TensorProto.EXTERNAL
    entries = {entry.key: entry.value for entry in large.external_data}
    assert int(entries["offset"]) % 4096 == 0
    np.testing.assert_array_equal(numpy_helper.to_array(large, base_dir=str(folder)), expected)
    del found.graph.initializer[:], model.graph.initializer[:]
    assert found == model
