"""Unsigned activations: the same answers to the bit, and what stays as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort.unsigned import make_unsigned
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from quantised import noise, quantise

ROOT = Path(__file__).parents[2]
INT8 = ROOT / "golden" / "int8"
BLOCKS = [
    dict(line.split("\t", 1) for line in text.splitlines())
    for text in (INT8 / "index.txt").read_text(encoding="utf-8").split("\n\n")
]
FAMILIES = {
    "vit": "fixtures/mmpretrain_vit.pth",
    "efficientnet": "fixtures/mmpretrain_efficientnet_v2.pth",
    "crossformer": "golden/crossformer/crossformer.pth",
    "yolo": "fixtures/yolov5_detect.pt",
}
AS_WRITTEN = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
OPTIMISED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


def session(
    model: bytes, level: onnxruntime.GraphOptimizationLevel = AS_WRITTEN
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answers(model: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    found: list[np.ndarray] = session(model).run(None, feeds)
    return found


def types(model: onnx.ModelProto) -> dict[str, set[int]]:
    """The types of zero points, by what they are of."""
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    found: dict[str, set[int]] = {"activations": set(), "weights": set()}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            of = "weights" if node.input[0] in stored else "activations"
            found[of].add(stored[node.input[2]])
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block["model"])
def test_a_graph_changes_as_the_vectors_say(block: dict[str, str]) -> None:
    model = (INT8 / block["model"]).read_bytes()
    found = make_unsigned(model)
    assert (found is None) == (block["unsigned"] == "-")
    if found is None:
        return
    assert hashlib.sha256(found).hexdigest() == block["unsigned"]
    assert make_unsigned(found) is None
    onnx.checker.check_model(onnx.load_from_string(found), full_check=True)
    if "domain" in block["model"]:
        return  # no engine has it
    scale = np.float32(0.125)
    values = np.random.default_rng(0).uniform(-200 * scale, 200 * scale, (2, 4, 4, 4)).astype(np.float32)
    for one, other in zip(answers(model, {"x": values}), answers(found, {"x": values}), strict=True):
        assert np.array_equal(one, other)


@pytest.fixture(scope="module", params=FAMILIES)
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / "model.onnx"
    export(ROOT / FAMILIES[request.param], ExportOptions(output=path, witness=False))
    return quantise(path, folder / "int8.onnx")


def test_every_family_gives_the_same_answers_to_the_bit(quantised: Path) -> None:
    model = quantised.read_bytes()
    found = make_unsigned(model)
    assert found is not None
    assert types(onnx.load_from_string(model)) == {"activations": {TensorProto.INT8}, "weights": {3, 6}}
    after = types(onnx.load_from_string(found))
    assert after["activations"] == {TensorProto.UINT8}
    assert after["weights"] >= {TensorProto.INT8, TensorProto.INT32}
    (port,) = onnx.load_from_string(model).graph.input
    for size in (1, 100):  # the second saturates
        feeds = {port.name: size * noise(port, 7)}
        for one, other in zip(answers(model, feeds), answers(found, feeds), strict=True):
            assert np.array_equal(one, other)


def test_every_convolution_and_product_is_fused(quantised: Path, tmp_path: Path) -> None:
    found = make_unsigned(quantised.read_bytes())
    assert found is not None
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(found, options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert not kinds.intersection(("Conv", "Gemm"))
    assert kinds.intersection(("QLinearConv", "QGemm", "QLinearMatMul"))


def test_the_runner_names_it_and_exact_switches_it_off(quantised: Path) -> None:
    (port,) = onnx.load(quantised).graph.input
    feeds = {port.name: noise(port)}
    with open_runner(quantised) as runner, open_runner(quantised, options=EngineOptions(exact=True)) as exact:
        assert runner.placement().rewrites[0] == "unsigned_activations"
        assert "repeat_gates" not in runner.placement().rewrites
        assert exact.placement().rewrites == ()
        assert runner.placement().precision == exact.placement().precision == "int8"
        found, expected = runner.infer(feeds), exact.infer(feeds)
    for name, values in expected.items():
        # Kernels of int8 round the last digit of a quotient where those of float32 do not.
        assert np.abs(found[name] - values).max() <= 0.3 * np.abs(values).max()


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=True)
SCALES = st.floats(min_value=2**-20, max_value=2**20, width=32)
ENDS = [k + off for k in (-128, 127) for off in (-1.5, -0.5, 0, 0.5, 1.5)]


@settings(deadline=None, max_examples=60)
@given(scale=SCALES, values=st.lists(FLOATS, min_size=1, max_size=40))
def test_quantised_values_are_128_apart(scale: float, values: list[float]) -> None:
    """A QuantizeLinear and a DequantizeLinear alone, around the ends of the range too."""
    tensors = [
        numpy_helper.from_array(np.array(scale, np.float32), "s"),
        numpy_helper.from_array(np.array(0, np.int8), "z"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        tensors,
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    found = make_unsigned(model)
    assert found is not None
    x = np.array([*values, *(scale * end for end in ENDS)], np.float32)
    (one,), (other,) = answers(model, {"x": x}), answers(found, {"x": x})
    assert np.array_equal(one, other)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_damaged_files_stay_as_they_are_or_change(data: st.DataObject) -> None:
    model = bytearray((INT8 / data.draw(st.sampled_from(BLOCKS))["model"]).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    found = make_unsigned(bytes(model[: data.draw(st.integers(1, len(model)))]))
    assert found is None or len(found) < 2 * len(model) + 1000


def test_a_scale_that_claims_to_be_large_makes_no_large_zero_point() -> None:
    tensor = numpy_helper.from_array(np.array([0.5], np.float32), "s")
    tensor.dims[0] = 1 << 40
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=TensorProto.INT8)
    graph = helper.make_graph([node], "g", [], [], [tensor])
    assert make_unsigned(helper.make_model(graph).SerializeToString()) is None
