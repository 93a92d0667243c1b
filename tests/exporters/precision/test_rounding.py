"""The emulation: what a graph answers that rounds to float16 after every node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from deploykit_exporters.precision import sessions
from deploykit_exporters.precision.float_graph import float_graph
from deploykit_exporters.precision.rounding import rounded_graph, rounded_weight
from deploykit_exporters.precision.sessions import outputs_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper

Graph = Callable[..., onnx.ModelProto]
FLOATS = arrays(np.float32, (2, 8), elements=st.floats(-(2.0**100), 2.0**100, width=32))


def half(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, np.float32).astype(np.float16).astype(np.float32)


def answer(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (outputs,) = outputs_of(model, [{"x": x}])
    return outputs["y"]


def test_overflow_is_infinite_and_ends_as_it_does_in_float16(graph: Graph) -> None:
    """300 * 300 / 300: 300 in float32, infinity in float16."""
    model = graph([helper.make_node("Mul", ["x", "x"], ["1"]), helper.make_node("Div", ["1", "x"], ["y"])])
    made = float_graph(model)
    x = np.full((2, 8), 300, np.float32)
    assert (answer(rounded_graph(made, ()), x) == 300).all()
    assert np.isinf(answer(rounded_graph(made, made.able), x)).all()


@given(x=FLOATS)
def test_every_value_is_rounded_as_numpy_rounds_it(x: np.ndarray) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["1"]),
        helper.make_node("Neg", ["1"], ["2"]),
        helper.make_node("Add", ["2", "w"], ["y"]),
    ]
    weight = np.float32(1 / 3)
    made = float_graph(_graph(nodes, weight))
    found = answer(rounded_graph(made, made.able), x)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = half(half(weight) - half(half(x) * half(weight)))
    np.testing.assert_array_equal(found, expected)


def _graph(nodes: list[onnx.NodeProto], weight: np.float32) -> onnx.ModelProto:
    from onnx import TensorProto, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 8])
    stored = [numpy_helper.from_array(np.asarray(weight), "w")]
    made = helper.make_graph(nodes, "made", [x], [y], stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_a_value_is_rounded_where_float16_reads_it_alone(graph: Graph) -> None:
    """Of two readers one is float32: it has every digit."""
    model = graph(
        [
            helper.make_node("Mul", ["x", "w"], ["1"], name="wide"),
            helper.make_node("Mul", ["1", "w"], ["2"], name="half"),
            helper.make_node("Sub", ["1", "2"], ["y"], name="reads both"),
        ],
        {"w": np.float32(1 / 3)},
    )
    x = np.linspace(1, 2, 16, dtype=np.float32).reshape(2, 8)
    third = np.float32(1 / 3)
    found = answer(rounded_graph(float_graph(model), [1]), x)
    np.testing.assert_array_equal(found, x * third - half(half(x * third) * half(third)))


def test_weights_beyond_the_range_are_infinite() -> None:
    found = rounded_weight(np.array([1e5, -1e5, 1e-9, 0.1], np.float32))
    assert found.tolist() == [np.inf, -np.inf, 0.0, pytest.approx(0.1, rel=1e-3)]


def test_a_model_too_large_for_memory_runs_from_a_file(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.arange(512, dtype=np.float32).reshape(8, 64)
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})
    x = np.ones((2, 8), np.float32)
    expected = answer(model, x)
    monkeypatch.setattr(sessions, "_LARGEST", 0)
    np.testing.assert_array_equal(answer(model, x), expected)
    assert model.graph.initializer[0].raw_data  # which saving a model takes out of it
