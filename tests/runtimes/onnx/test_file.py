"""The outside of an ONNX file, read without onnx: the same as onnx and ONNX Runtime say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.ort.runner import open_ort
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

Writer = Callable[..., Path]


def test_it_says_what_onnx_runtime_says(write_classifier: Writer, classifier_spec: ModelSpec) -> None:
    path = write_classifier()
    found = read_onnx(path)
    with open_ort(path) as runner:
        assert (found.inputs, found.outputs, found.spec()) == (runner.inputs, runner.outputs, runner.spec)
    assert found.spec() == classifier_spec
    assert found.weights == {"float32": 9}
    assert found.nodes == 3


def test_a_file_of_another_exporter_is_inferred(write_classifier: Writer) -> None:
    spec = read_onnx(write_classifier(None, metadata={"note": "crème"})).spec()
    assert spec.inferred
    assert spec.num_classes == 3


def test_stored_values_are_no_inputs_and_are_counted(tmp_path: Path) -> None:
    """Old exporters list weights among the inputs."""
    weight = numpy_helper.from_array(np.ones((2, 3, 5), np.float16), "w")
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT16, [None, -1, "n", 5]),
        helper.make_tensor_value_info("w", TensorProto.FLOAT16, [2, 3, 5]),
    ]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", values, values[:1], [weight])
    path = tmp_path / "m.onnx"
    onnx.save_model(helper.make_model(graph), path)
    found = read_onnx(path)
    assert [str(info) for info in found.inputs] == ["x float16 [?, ?, n, 5]"]
    assert found.weights == {"float16": 30}


@pytest.mark.parametrize(
    "content", [b"", b"not a model", b"PK\x03\x04" + bytes(100), bytes(1000), b"\x08\x09"]
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.onnx is not a valid ONNX model"):
        read_onnx(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a file"):
        read_onnx(tmp_path / "none.onnx")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_an_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 8, 8])],
    )
    model = helper.make_model(graph)
    helper.set_model_props(model, {"a": "b"})
    content = bytearray(model.SerializeToString())
    cut = data.draw(st.integers(0, len(content)))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "m.onnx"
    path.write_bytes(bytes(content[:cut]) if data.draw(st.booleans()) else bytes(content))
    try:
        read_onnx(path)
    except ModelError:
        return


def test_large_weights_are_skipped_over(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.zeros((1 << 10, 1 << 10), np.float32), "w")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [value], [value], [weight])
    path = tmp_path / "m.onnx"
    onnx.save_model(helper.make_model(graph), path)
    assert read_onnx(path).weights == {"float32": 1 << 20}
