"""The proof of no saturation, against products that saturate as vpmaddubsw does."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from deploykit.quantization.int8.graph.saturation import may_saturate

LIMIT = 32_767


def product(weights: np.ndarray) -> onnx.ModelProto:
    """A quantised matrix product with these weights, int8 [inputs, outputs]."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"], name="product"),
    ]
    constants = [
        numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
        numpy_helper.from_array(np.array(0, np.int8), "zero"),
        numpy_helper.from_array(weights, "w"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weights.shape[1]])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def saturates(weights: np.ndarray) -> bool:
    """Whether two neighbours in any order of the rows leave 16 bits for some activations of 0 to 255."""
    for column in weights.astype(np.int64).T:
        for first in range(len(column)):
            for second in range(first + 1, len(column)):
                pair = column[[first, second]]
                if pair.clip(0).sum() * 255 > LIMIT or pair.clip(max=0).sum() * 255 < -LIMIT - 1:
                    return True
    return False


@given(st.lists(st.lists(st.integers(-128, 127), min_size=2, max_size=2), min_size=2, max_size=6))
def test_the_proof_is_exact(rows: list[list[int]]) -> None:
    weights = np.array(rows, np.int8)
    assert may_saturate(product(weights)) == (("product",) if saturates(weights) else ())


def test_seven_bits_never_saturate() -> None:
    assert may_saturate(product(np.full((8, 3), 64, np.int8))) == ()
    assert may_saturate(product(np.full((8, 3), -64, np.int8))) == ()
    assert may_saturate(product(np.full((8, 3), 65, np.int8))) == ("product",)
