"""Gates repeated to the size of their maps, so that ONNX Runtime keeps the maps in blocks of channels."""

from __future__ import annotations

import platform
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from deploykit_runtimes.machine.cpu import X86
from deploykit_runtimes.ort.gates import repeat_gates
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIDE = 32, 12
OPSETS = (18, 19, 20, 21, 22, 23)


def network(
    *, turned: bool = False, opset: int = 18, channels: int = CHANNELS, batch: str | int = "batch"
) -> onnx.ModelProto:
    """Two convolutions with a gated map between, as squeeze-and-excitation has it, and a residual sum."""
    generator = np.random.default_rng(0)
    shapes = {
        "stem": (channels, 3, 3, 3),
        "depthwise": (channels, 1, 3, 3),
        "squeeze": (channels, channels, 1, 1),
        "project": (channels, channels, 1, 1),
    }
    weights = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["images", "stem"], ["first"], pads=[1] * 4),
        helper.make_node("Conv", ["first", "depthwise"], ["second"], pads=[1] * 4, group=channels),
        helper.make_node("Relu", ["second"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "squeeze"], ["squeezed"]),
        helper.make_node("Sigmoid", ["squeezed"], ["gate"]),
        helper.make_node("Mul", ["gate", "map"] if turned else ["map", "gate"], ["gated"]),
        helper.make_node("Conv", ["gated", "project"], ["projected"]),
        helper.make_node("Add", ["projected", "first"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "gated",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, channels, 1, 1])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
        value_info=[
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [batch, channels, SIDE, SIDE]),
            helper.make_tensor_value_info("gate", TensorProto.FLOAT, [batch, channels, 1, 1]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def run(model: onnx.ModelProto, optimized: Path | None = None) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimized is None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    else:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    images = np.random.default_rng(1).standard_normal((2, 3, SIDE, SIDE), dtype=np.float32)
    found: np.ndarray = session.run(None, {"images": images})[0]
    return found


def repeated(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto | None:
    found = repeat_gates(model.SerializeToString(), **options)
    if found is None:
        return None
    rewritten = onnx.load_from_string(found)
    onnx.checker.check_model(rewritten, full_check=True)
    return rewritten


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("batch", ["batch", 2])
def test_the_answer_is_the_same_to_the_bit_where_the_engine_changes_nothing(
    turned: bool, batch: str | int
) -> None:
    model = network(turned=turned, batch=batch)
    rewritten = repeated(model)
    assert rewritten is not None
    assert [node.op_type for node in rewritten.graph.node].count("Resize") == 1
    assert np.array_equal(run(rewritten), run(model))


@pytest.mark.skipif(
    platform.machine().lower() not in X86, reason=f"{platform.machine()} is not an x86-64 processor"
)
@pytest.mark.parametrize("opset", OPSETS)
def test_onnx_runtime_keeps_the_map_in_blocks(tmp_path: Path, opset: int) -> None:
    """Where this fails, ONNX Runtime has changed, and the rewrite costs time in place of saving it."""
    model = network(opset=opset)
    rewritten = repeated(model)
    assert rewritten is not None
    answers, operators = [], []
    for number, each in enumerate((model, rewritten)):
        path = tmp_path / f"{number}.onnx"
        answers.append(run(each, path))
        operators.append(Counter(node.op_type for node in onnx.load(path).graph.node))
    before, after = operators
    assert before["ReorderInput"] == 1
    assert after["ReorderInput"] == 0
    assert after["ReorderOutput"] < before["ReorderOutput"]
    assert after["Upsample"] == 1
    assert np.abs(answers[0] - answers[1]).max() <= 1e-6 * np.abs(answers[0]).max()


def test_larger_maps_can_be_left_as_they_are() -> None:
    assert repeated(network(), largest=SIDE * SIDE - 1) is None
    assert repeated(network(), largest=SIDE * SIDE) is not None


def shapes_of(**dims: list[Any]) -> onnx.ModelProto:
    model = network()
    del model.graph.value_info[:]
    for name, shape in dims.items():
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize(
    "model",
    [
        shapes_of(),
        shapes_of(map=["batch", CHANNELS, SIDE, SIDE]),
        shapes_of(map=["batch", CHANNELS, "height", "width"], gate=["batch", CHANNELS, 1, 1]),
        shapes_of(map=["batch", CHANNELS, SIDE, SIDE], gate=["other", CHANNELS, 1, 1]),
        shapes_of(map=["batch", CHANNELS, SIDE, SIDE], gate=["batch", CHANNELS, 1, SIDE]),
        shapes_of(map=["batch", CHANNELS, SIDE, SIDE], gate=["batch", CHANNELS, SIDE, SIDE]),
        shapes_of(map=["batch", CHANNELS, SIDE], gate=["batch", 1, 1]),
        network(channels=24),
    ],
    ids=["unknown", "gate unknown", "free", "another batch", "a row", "a map", "no map", "no whole blocks"],
)
def test_what_is_not_known_to_be_a_gated_map_in_blocks_stays(model: onnx.ModelProto) -> None:
    assert repeat_gates(model.SerializeToString()) is None


@given(st.binary(max_size=64), st.integers(0, 2000), st.integers(0, 64))
def test_damaged_files_are_left_to_the_engine(noise: bytes, start: int, length: int) -> None:
    whole = network().SerializeToString()
    damaged = whole[:start] + noise + whole[start + length :]
    found = repeat_gates(damaged)
    assert found is None or isinstance(found, bytes)


def test_no_file_at_all() -> None:
    assert repeat_gates(b"") is None
    assert repeat_gates(b"\x3a\x05\x6a\xff\xff") is None
