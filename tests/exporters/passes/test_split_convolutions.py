"""Convolving into the parts of a Split changes the graph, not its answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from deploykit_exporters.passes.drop_unused import drop_unused
from deploykit_exporters.passes.split_convolutions import split_convolutions
from onnx import helper, numpy_helper

Run = Callable[[onnx.ModelProto], list[np.ndarray]]
ACTIVATIONS = {
    "none": [],
    "relu": [("Relu", ["conv"], ["features"])],
    "silu": [("Sigmoid", ["conv"], ["gate"]), ("Mul", ["conv", "gate"], ["features"])],
    "silu, turned": [("Sigmoid", ["conv"], ["gate"]), ("Mul", ["gate", "conv"], ["features"])],
}
STAYS = {
    "another activation": {"nodes": [("HardSwish", ["conv"], ["features"])]},
    "a product of two": {"nodes": [("Tanh", ["conv"], ["gate"]), ("Mul", ["conv", "gate"], ["features"])]},
    "read by another": {"also": ["features"]},
    "the convolution read by another": {"also": ["conv"]},
    "groups": {"group": 3},
    "another axis": {"axis": 2, "sizes": [4, 5]},
}


def network(
    nodes: list[tuple[str, list[str], list[str]]] | None = None,
    *,
    sizes: list[int] | None = None,
    also: list[str] | None = None,
    axis: int = 1,
    group: int = 1,
    bias: bool = True,
) -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    nodes = [("Relu", ["conv"], ["features"])] if nodes is None else nodes
    weights = {"weight": generator.standard_normal((6, 3 // group, 3, 3)).astype(np.float32)}
    weights["bias"] = generator.standard_normal(6).astype(np.float32)
    if sizes:
        weights["sizes"] = np.array(sizes)
    parts = [f"part{index}" for index in range(len(sizes or [1, 1]))]
    made = [
        helper.make_node("Conv", ["images", "weight"] + ["bias"] * bias, ["conv"], pads=[1] * 4, group=group)
    ]
    made += [helper.make_node(operator, inputs, outputs) for operator, inputs, outputs in nodes]
    split = {} if sizes else {"num_outputs": 2}
    last = made[-1].output[0]
    made.append(helper.make_node("Split", [last] + ["sizes"] * bool(sizes), parts, axis=axis, **split))
    outputs = parts + (also or [])
    graph = helper.make_graph(
        made,
        "network",
        [helper.make_tensor_value_info("images", 1, ["n", 3, 9, 11])],
        [helper.make_tensor_value_info(name, 1, ["n", None, None, None]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("sizes", [None, [3, 3], [1, 2, 3]], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_each_part_gets_a_convolution(run: Run, sizes: list[int] | None, activation: str, bias: bool) -> None:
    model = network(ACTIVATIONS[activation], sizes=sizes, bias=bias)
    before = run(model)
    assert split_convolutions(model)
    drop_unused(model)
    assert "Split" not in operators(model)
    assert operators(model).count("Conv") == len(sizes or "ab")
    assert not {"weight", "bias", "sizes"} & {tensor.name for tensor in model.graph.initializer}
    for one, other in zip(before, run(model), strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", STAYS)
def test_other_graphs_stay_as_they_are(run: Run, form: str) -> None:
    model = network(**STAYS[form])
    run(model)
    before = model.SerializeToString(deterministic=True)
    assert not split_convolutions(model)
    assert model.SerializeToString(deterministic=True) == before
