"""Convolving before the upsampling changes the graph, not its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from deploykit_exporters.passes.convolve_before_upsampling import convolve_before_upsampling
from deploykit_exporters.passes.drop_unused import drop_unused
from onnx import helper, numpy_helper

Run = Callable[[onnx.ModelProto], list[np.ndarray]]
STAYS: dict[str, dict[str, Any]] = {
    "another interpolation": {"mode": "linear"},
    "a larger kernel": {"kernel": 3},
    "strides": {"strides": [2, 2]},
    "the join is an output": {"also": ["joined"]},
    "a size, not a scale": {"sizes": True},
    "a part of a pixel": {"scale": 1.5},
    "both enlarged": {"order": ["large", "large"]},
    "neither enlarged": {"order": ["fine", "fine"]},
}


def network(
    *,
    order: list[str] | None = None,
    convolutions: int = 1,
    scale: float = 2.0,
    kernel: int = 1,
    strides: list[int] | None = None,
    mode: str = "nearest",
    sizes: bool = False,
    also: list[str] | None = None,
    bias: bool = True,
) -> onnx.ModelProto:
    """A coarse map of 3 channels, a fine one of 5."""
    generator = np.random.default_rng(0)
    order = order or ["large", "fine"]
    channels = sum({"large": 3, "fine": 5}[name] for name in order)
    weights = {
        "scales": np.array([1, 1, scale, scale], np.float32),
        "sizes": np.array([2, 3, 8, 12]),
    }
    coordinates = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "mode": mode}
    how = ["coarse", "", "", "sizes"] if sizes else ["coarse", "", "scales"]
    nodes = [
        helper.make_node("Resize", how, ["large"], **coordinates),
        helper.make_node("Concat", order, ["joined"], axis=1),
    ]
    for index in range(convolutions):
        weights[f"weight{index}"] = generator.standard_normal((4, channels, kernel, kernel)).astype(
            np.float32
        )
        weights[f"bias{index}"] = generator.standard_normal(4).astype(np.float32)
        inputs = ["joined", f"weight{index}"] + [f"bias{index}"] * bias
        nodes.append(helper.make_node("Conv", inputs, [f"out{index}"], strides=strides or [1, 1]))
    height, width = (8, 12) if scale == 2 else (6, 9)
    outputs = [f"out{index}" for index in range(convolutions)] + (also or [])
    graph = helper.make_graph(
        nodes,
        "network",
        [
            helper.make_tensor_value_info("coarse", 1, ["n", 3, 4, 6]),
            helper.make_tensor_value_info("fine", 1, ["n", 5, height, width]),
        ],
        [helper.make_tensor_value_info(name, 1, ["n", None, None, None]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("order", [["large", "fine"], ["fine", "large"]], ids=str)
@pytest.mark.parametrize("convolutions", [1, 2])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_the_coarse_map_is_convolved_as_it_is(
    run: Run, order: list[str], convolutions: int, bias: bool
) -> None:
    model = network(order=order, convolutions=convolutions, bias=bias)
    before = run(model)
    assert convolve_before_upsampling(model)
    drop_unused(model)
    operators = [node.op_type for node in model.graph.node]
    assert "Concat" not in operators
    assert operators.count("Conv") == 2 * convolutions
    coarse = [node for node in model.graph.node if "coarse" in node.input]
    assert [node.op_type for node in coarse] == ["Conv"] * convolutions
    for one, other in zip(before, run(model), strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-5)


def test_what_the_enlarged_map_is_else_read_for_stays(run: Run) -> None:
    model = network(also=["large"])
    before = run(model)
    assert convolve_before_upsampling(model)
    for one, other in zip(before, run(model), strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", STAYS)
def test_other_graphs_stay_as_they_are(run: Run, form: str) -> None:
    model = network(**STAYS[form])
    run(model)
    before = model.SerializeToString(deterministic=True)
    assert not convolve_before_upsampling(model)
    assert model.SerializeToString(deterministic=True) == before
