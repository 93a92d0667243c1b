"""Folding the normalisation into the first convolution changes the graph, not its answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from deploykit_exporters.passes.fold_normalisation import fold_normalisation
from onnx import helper, numpy_helper

GAIN = np.array([0.017, 0.0175, 0.0174], np.float32)
BIAS = np.array([-2.1, -2.0, -1.8], np.float32)


def network(
    *,
    bias: np.ndarray | None = BIAS,
    gain: np.ndarray = GAIN,
    own_bias: bool = True,
    twice: bool = False,
    **conv: Any,
) -> onnx.ModelProto:
    """(image * gain + bias) -> Conv, and optionally a second reader of the normalised image."""
    generator = np.random.default_rng(0)
    weights = {
        "gain": gain.reshape(3, 1, 1),
        "weight": generator.standard_normal((5, 3, 3, 3)).astype(np.float32),
        "own": generator.standard_normal(5).astype(np.float32),
    }
    nodes = [helper.make_node("Mul", ["image", "gain"], ["scaled"], "mul")]
    last = "scaled"
    if bias is not None:
        weights["bias"] = bias.reshape(1, 3, 1, 1)
        nodes.append(helper.make_node("Add", ["scaled", "bias"], ["tensor"], "add"))
        last = "tensor"
    inputs = [last, "weight"] + (["own"] if own_bias else [])
    nodes.append(helper.make_node("Conv", inputs, ["features"], "conv", **conv))
    outputs = ["features"]
    if twice:
        nodes.append(helper.make_node("Relu", [last], ["other"], "relu"))
        outputs.append("other")
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", 1, [1, 3, 9, 11])],
        [helper.make_tensor_value_info(name, 1, ["n", "c", "h", "w"]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 9, 11)).astype(np.float32)
    output: np.ndarray = session.run(["features"], {"image": image})[0]
    return output


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"bias": None}, ["Conv"]),
        ({"bias": None, "pads": [1, 1, 1, 1]}, ["Conv"]),
        ({"bias": None, "gain": np.array([1 / 255], np.float32).repeat(3)}, ["Conv"]),
        ({}, ["Conv"]),
        ({"own_bias": False}, ["Conv"]),
        ({"pads": [1, 1, 1, 1]}, ["Add", "Conv"]),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, ["Add", "Conv"]),
    ],
)
def test_the_answers_stay(options: dict[str, Any], left: list[str]) -> None:
    model = network(**options)
    expected = run(model)
    assert fold_normalisation(model)
    assert operators(model) == left
    assert np.abs(run(model) - expected).max() < 2e-6 * np.abs(expected).max()
    assert not fold_normalisation(model)


@pytest.mark.parametrize(
    "options",
    [{"twice": True}, {"gain": np.zeros(3, np.float32)}],
    ids=["another reader", "a gain of zero"],
)
def test_what_cannot_be_folded_is_left(options: dict[str, Any]) -> None:
    model = network(**options)
    before = model.SerializeToString()
    assert not fold_normalisation(model)
    assert model.SerializeToString() == before
