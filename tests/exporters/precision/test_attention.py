"""Attention is found in its forms, and its scale moves to the queries."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from deploykit_exporters.precision.attention import attention_nodes, scale_queries
from deploykit_exporters.precision.sessions import outputs_of
from onnx import TensorProto, helper, numpy_helper

SHAPE = [1, 2, 5, 4]


def attention(
    between: list[onnx.NodeProto], scores: str, number: np.ndarray | None = None
) -> onnx.ModelProto:
    """q, k, v [1, 2, 5, 4] to y, with nodes between the first product ``s`` and the softmax of ``scores``."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "qkv"]
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["s"], name="first"),
        *between,
        helper.make_node("Softmax", [scores], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"], name="second"),
    ]
    stored = {"number": np.float32(0.5) if number is None else number, "bias": np.ones((5, 5), np.float32)}
    graph = helper.make_graph(
        nodes,
        "attention",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def answer(model: onnx.ModelProto) -> np.ndarray:
    generator = np.random.default_rng(0)
    feeds = {name: generator.standard_normal(SHAPE).astype(np.float32) for name in "qkv"}
    (outputs,) = outputs_of(model, [feeds])
    return outputs["y"]


MUL = helper.make_node("Mul", ["s", "number"], ["scaled"], name="scale")
TURNED = helper.make_node("Mul", ["number", "s"], ["scaled"], name="scale")
DIV = helper.make_node("Div", ["s", "number"], ["scaled"], name="scale")
BIAS = helper.make_node("Add", ["scaled", "bias"], ["biased"], name="bias")


@pytest.mark.parametrize(
    ("between", "scores", "nodes"),
    [
        ([], "s", ("s", "p", "y")),
        ([MUL], "scaled", ("s", "scaled", "p", "y")),
        ([MUL, BIAS], "biased", ("s", "scaled", "biased", "p", "y")),
    ],
)
def test_attention_is_found(between: list[onnx.NodeProto], scores: str, nodes: tuple[str, ...]) -> None:
    assert attention_nodes(attention(between, scores)) == [nodes]


@pytest.mark.parametrize("scaling", [MUL, TURNED, DIV])
@pytest.mark.parametrize("number", [np.float32(0.3), np.full(1, 0.3, np.float32)])
def test_the_scale_moves_to_the_queries(scaling: onnx.NodeProto, number: np.ndarray) -> None:
    model = attention([scaling, BIAS], "biased", number)
    before = answer(model)
    assert scale_queries(model)
    onnx.checker.check_model(model, full_check=True)
    product = next(node for node in model.graph.node if node.name == "first")
    maker = next(node for node in model.graph.node if product.input[0] in node.output)
    assert (maker.op_type, maker.input[0]) == (scaling.op_type, "q")
    np.testing.assert_allclose(answer(model), before, atol=1e-6)
    assert attention_nodes(model) == [("scaled", "biased", "p", "y")]
    assert not scale_queries(model)


def test_what_is_not_one_number_stays() -> None:
    several = np.full((5, 1), 0.3, np.float32)
    assert not scale_queries(attention([MUL], "scaled", several))
    divided = helper.make_node("Div", ["number", "s"], ["scaled"])  # one over the scores
    assert not scale_queries(attention([divided], "scaled"))


def test_scores_that_are_read_elsewhere_are_left_alone() -> None:
    model = attention([MUL], "scaled")
    model.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, 2, 5, 5]))
    assert not scale_queries(model)


def test_a_softmax_over_classes_is_no_attention() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["s"]), helper.make_node("Softmax", ["s"], ["y"])]
    graph = helper.make_graph(
        nodes, "classes", [x], [y], [numpy_helper.from_array(np.ones((8, 4), np.float32), "w")]
    )
    assert attention_nodes(helper.make_model(graph)) == []
