"""The typed graph: its types, its casts, and that it computes what the emulation says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from deploykit_exporters.precision.float_graph import float_graph
from deploykit_exporters.precision.typed import cast_count, typed_graph
from onnx import TensorProto, helper, numpy_helper

Graph = Callable[..., onnx.ModelProto]
HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def checked(model: onnx.ModelProto) -> dict[str, int]:
    """The element types of a valid model that ONNX Runtime runs."""
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": np.ones((2, 8), np.float32)})
    assert all(np.isfinite(each).all() for each in found)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {
        value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)
    }
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def test_a_cast_stands_where_types_meet_and_only_there(graph: Graph) -> None:
    model = graph(
        [
            helper.make_node("Mul", ["x", "w"], ["1"]),
            helper.make_node("Relu", ["1"], ["2"]),
            helper.make_node("Exp", ["1"], ["3"]),
            helper.make_node("Add", ["2", "3"], ["y"]),
        ],
        {"w": np.float32(0.5)},
    )
    every = typed_graph(float_graph(model), range(4))
    assert cast_count(every) == 2  # x and y
    found = checked(every)
    assert found["w"] == HALF
    assert found["y"] == FLOAT
    some = typed_graph(float_graph(model), [0, 1, 3])
    found = checked(some)
    assert (found["1"], found["1/fp16"], found["3"]) == (FLOAT, HALF, FLOAT)
    assert cast_count(some) == 4  # and 1 for the exponential, 3 for the sum


def test_a_weight_that_both_read_is_there_in_both_types(graph: Graph) -> None:
    model = graph(
        [helper.make_node("Mul", ["x", "w"], ["1"]), helper.make_node("Add", ["1", "w"], ["y"])],
        {"w": np.full(8, 1 / 3, np.float32)},
    )
    found = checked(typed_graph(float_graph(model), [0]))
    assert (found["w"], found["w/fp16"]) == (FLOAT, HALF)


def test_what_is_float32_by_definition_stays(graph: Graph) -> None:
    """The scales of a resize are float32 for every type of image."""
    model = graph(
        [
            helper.make_node("Reshape", ["x", "four"], ["1"]),
            helper.make_node("Resize", ["1", "", "scales"], ["2"]),
            helper.make_node("Flatten", ["2"], ["y"]),
        ],
        {"four": np.array([1, 1, 2, 8]), "scales": np.array([1, 1, 2, 2], np.float32)},
    )
    found = checked(typed_graph(float_graph(model), range(3)))
    assert (found["2/fp16"], found["scales"]) == (HALF, FLOAT)


def test_shapes_are_taken_of_the_value_that_is_there(graph: Graph) -> None:
    model = graph(
        [
            helper.make_node("Mul", ["x", "w"], ["1"]),
            helper.make_node("Shape", ["1"], ["shape"]),
            helper.make_node("Reshape", ["1", "shape"], ["2"]),
            helper.make_node("Cast", ["shape"], ["sizes"], to=FLOAT),
            helper.make_node("ReduceSum", ["sizes"], ["size"], keepdims=0),
            helper.make_node("Mul", ["2", "size"], ["y"]),
        ],
        {"w": np.float32(0.5)},
    )
    made = float_graph(model)
    assert 1 not in made.able
    typed = typed_graph(made, made.able)
    assert cast_count(typed) == 2
    (shape,) = (node for node in typed.graph.node if node.op_type == "Shape")
    assert list(shape.input) == ["1/fp16"]
    (cast,) = (node for node in typed.graph.node if node.op_type == "Cast" and node.input[0] == "shape")
    assert cast.attribute[0].i == HALF
    checked(typed)


def test_the_body_of_a_loop_reads_float32(graph: Graph) -> None:
    number = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    go = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    goes = helper.make_tensor_value_info("goes", TensorProto.BOOL, [])
    sum_in = helper.make_tensor_value_info("sum", FLOAT, None)
    sum_out = helper.make_tensor_value_info("more", FLOAT, None)
    body = helper.make_graph(
        [helper.make_node("Add", ["sum", "1"], ["more"]), helper.make_node("Identity", ["go"], ["goes"])],
        "body",
        [number, go, sum_in],
        [goes, sum_out],
    )
    model = graph(
        [
            helper.make_node("Mul", ["x", "w"], ["1"]),
            helper.make_node("Loop", ["twice", "", "1"], ["2"], body=body),
            helper.make_node("Relu", ["2"], ["y"]),
        ],
        {"w": np.float32(0.5), "twice": np.array(2)},
    )
    made = float_graph(model)
    assert set(made.able) == {0, 2}
    found = checked(typed_graph(made, made.able))
    assert (found["1"], found["1/fp16"], found["2/fp16"]) == (FLOAT, HALF, HALF)


@pytest.mark.parametrize("attribute", ["value", "value_float", "value_floats"])
def test_constants_become_weights(attribute: str, graph: Graph) -> None:
    given = {
        "value": numpy_helper.from_array(np.array([0.5], np.float32)),
        "value_float": 0.5,
        "value_floats": [0.5],
    }
    constant = helper.make_node("Constant", [], ["c"], **{attribute: given[attribute]})
    model = graph([constant, helper.make_node("Mul", ["x", "c"], ["y"])])
    assert checked(typed_graph(float_graph(model), [0]))["c"] == HALF


def test_metadata_and_names_stay(graph: Graph) -> None:
    model = graph([helper.make_node("Relu", ["x"], ["y"], name="kept")])
    helper.set_model_props(model, {"key": "value"})
    typed = typed_graph(float_graph(model), [0])
    assert [(entry.key, entry.value) for entry in typed.metadata_props] == [("key", "value")]
    assert "kept" in {node.name for node in typed.graph.node}
    assert typed.graph.input == model.graph.input
    assert typed.graph.output == model.graph.output
