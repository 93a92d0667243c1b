"""Graph passes: each does one thing and says whether it did."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from deploykit_exporters.passes.drop_unused import drop_unused
from deploykit_exporters.passes.name_dimensions import name_dimensions
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import ModelError
from onnx import TensorProto, helper, numpy_helper


def spec(output: str = "logits", **dynamic: AxisRange) -> ModelSpec:
    return ModelSpec(
        task="classify",
        family="vit",
        variant="v",
        origin="timm",
        input=InputSpec(height=8, width=8, batch=2, dynamic=dynamic),
        preprocess=Preprocess(),
        output=OutputSpec(names=(output,), layout="logits"),
    )


def model(*, dead: bool) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((3,), np.float32).reshape(1, 3, 1, 1), "w")
    nodes = [helper.make_node("Mul", ["images", "w"], ["logits"])]
    weights = [weight]
    if dead:
        weights.append(numpy_helper.from_array(np.zeros(1000, np.float32), "unused"))
        weights.append(numpy_helper.from_array(np.zeros(1, np.float32), "for_dead"))
        nodes.append(helper.make_node("Add", ["images", "for_dead"], ["nobody_reads"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["a", 3, "b", "c"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["d", 3, "e", 8])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_dead_nodes_and_weights_go() -> None:
    graph = model(dead=True)
    assert drop_unused(graph) is True
    assert [node.op_type for node in graph.graph.node] == ["Mul"]
    assert [tensor.name for tensor in graph.graph.initializer] == ["w"]
    onnx.checker.check_model(graph)
    assert drop_unused(graph) is False


def test_what_a_sub_graph_reads_stays() -> None:
    then = helper.make_graph(
        [helper.make_node("Add", ["images", "outer"], ["then_out"])],
        "then",
        [],
        [helper.make_tensor_value_info("then_out", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["else_out"])],
        "else",
        [],
        [helper.make_tensor_value_info("else_out", TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["flag"], ["logits"], then_branch=then, else_branch=other)],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])],
        [
            numpy_helper.from_array(np.array(True), "flag"),
            numpy_helper.from_array(np.ones(1, np.float32), "outer"),
        ],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert drop_unused(whole) is False
    assert {tensor.name for tensor in whole.graph.initializer} == {"flag", "outer"}


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_dynamic_axes_are_named_and_fixed_ones_numbered() -> None:
    graph = model(dead=False)
    assert name_dimensions(graph, spec(batch=AxisRange(min=1, max=4), height=AxisRange(min=8, max=64)))
    assert dims(graph.graph.input[0]) == ["batch", 3, "height", 8]
    assert dims(graph.graph.output[0]) == ["batch", 3, "logits_2", 8]
    assert not name_dimensions(graph, spec(batch=AxisRange(min=1, max=4), height=AxisRange(min=8, max=64)))
    assert name_dimensions(graph, spec())
    assert dims(graph.graph.input[0]) == [2, 3, 8, 8]


def test_other_outputs_than_declared_are_refused() -> None:
    with pytest.raises(ModelError, match="boxes"):
        name_dimensions(model(dead=False), spec("boxes"))


def test_dead_nodes_in_the_body_of_a_loop_go() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Constant", [], ["nobody_reads"], value=helper.make_tensor("t", 1, [1], [2.0])),
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("Add", ["state", "state"], ["next_state"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["limit", "", "images"], ["logits"], body=body)],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array(3), "limit")],
    )
    wrapped = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert drop_unused(wrapped) is True
    left = wrapped.graph.node[0].attribute[0].g
    assert [node.op_type for node in left.node] == ["Identity", "Add"]
    assert drop_unused(wrapped) is False
