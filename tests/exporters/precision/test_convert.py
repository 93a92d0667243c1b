"""A float32 graph in float16: overflow, lost digits, and what cannot be helped."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.precision.convert import Feed, Fp16Graph, convert_fp16
from deploykit_exporters.precision.file import write_fp16
from deploykit_exporters.precision.float_graph import float_graph
from deploykit_exporters.precision.rounding import rounded_graph
from deploykit_exporters.precision.sessions import outputs_of
from deploykit_exporters.proof.candidate import open_candidate
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import ModelError, ParityError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.selftest.cases import cases_from_keys
from deploykit_runtimes.selftest.inputs import feeds_of
from deploykit_runtimes.selftest.run import self_test
from onnx import helper

Graph = Callable[..., onnx.ModelProto]

SPEC = ModelSpec(
    task="features",
    family="vit",
    variant="made",
    origin="",
    input=InputSpec(name="x", height=1, width=8, channels=1, layout="NCHW"),
    preprocess=Preprocess(),
    output=OutputSpec(names=("y",), layout="features"),
)


def naive(path: Path) -> list[dict[str, np.ndarray]]:
    """The answers to the golden cases with every node in float16 that can be."""
    spec = read_onnx(path).spec()
    graph = float_graph(onnx.load(str(path)))
    feeds = (feeds_of(case, spec) for case in cases_from_keys(spec.golden))
    return [*outputs_of(rounded_graph(graph, graph.able), feeds)]


def test_what_overflows_stays_in_float32(overflowing: Path) -> None:
    """ONNX Runtime gives the right answers of the naive file: only the emulation shows that it is wrong."""
    assert all(np.isnan(outputs["logits"]).all() for outputs in naive(overflowing))
    made = write_fp16(overflowing)
    assert made.graph.found.share < 0.2
    kept = [line for line in made.graph.kept if "reaches" in line]
    assert len(kept) == 2
    assert all("LayerNormalization" in line and "Gemm" in line for line in kept)
    assert made.graph.products[0] > made.graph.products[1] / 2
    assert self_test_passes(made.path)
    spec = read_onnx(overflowing).spec()
    for case in cases_from_keys(spec.golden):
        with open_candidate(overflowing) as wide, open_candidate(made.path) as half:
            expected, found = (each.infer(feeds_of(case, spec))["logits"] for each in (wide, half))
        np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


def self_test_passes(path: Path) -> bool:
    with open_ort(path) as runner:
        return self_test(runner).ok


def convert(model: onnx.ModelProto, scale: float = 1.0) -> Fp16Graph:
    generator = np.random.default_rng(0)
    feeds = [
        Feed(f"noise {index}", {"x": (scale * generator.standard_normal((1, 1, 1, 8))).astype(np.float32)})
        for index in range(3)
    ]
    ends = ((model.graph.input, "x"), (model.graph.output, "y"))
    for values, name in ends:
        values[0].CopyFrom(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 1, 1, 8]))
    return convert_fp16(model, feeds, SPEC)


def weights(*names: str) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    return {name: (generator.standard_normal((8, 8)) / 3).astype(np.float32) for name in names}


def kinds(made: Fp16Graph) -> dict[str, int]:
    model = onnx.shape_inference.infer_shapes(made.model)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    types |= {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    return {node.name: types[node.output[0]] for node in model.graph.node if node.name in "abcdefgh"}


def test_what_loses_the_answers_digits_is_found(graph: Graph) -> None:
    """3000 is added and subtracted: no value overflows, and float16 has steps of 2 there."""
    chain = [
        helper.make_node("MatMul", ["x", "w1"], ["1"], name="a"),
        helper.make_node("Relu", ["1"], ["2"], name="b"),
        helper.make_node("MatMul", ["2", "w2"], ["3"], name="c"),
        helper.make_node("Add", ["3", "far"], ["4"], name="d"),
        helper.make_node("Sub", ["4", "far"], ["5"], name="e"),
        helper.make_node("MatMul", ["5", "w3"], ["6"], name="f"),
        helper.make_node("Relu", ["6"], ["7"], name="g"),
        helper.make_node("MatMul", ["7", "w4"], ["y"], name="h"),
    ]
    made = convert(graph(chain, {**weights("w1", "w2", "w3", "w4"), "far": np.float32(3000)}))
    found = kinds(made)
    assert found["d"] == onnx.TensorProto.FLOAT
    assert found["a"] == onnx.TensorProto.FLOAT16
    assert made.found.share <= 1
    assert any("rounding it costs most" in line for line in made.kept)
    assert made.runs > 3


def test_a_weight_that_vanishes_in_float16_stays(graph: Graph) -> None:
    stored = weights("w1", "w2", "w3")
    stored["w2"] *= np.float32(1e-8)
    chain = [
        helper.make_node("MatMul", ["x", "w1"], ["1"], name="a"),
        helper.make_node("MatMul", ["1", "w2"], ["2"], name="b"),
        helper.make_node("Mul", ["2", "up"], ["3"], name="c"),
        helper.make_node("MatMul", ["3", "w3"], ["y"], name="d"),
    ]
    made = convert(graph(chain, {**stored, "up": np.float32(1e8)}))
    found = kinds(made)
    assert found["b"] == found["c"] == onnx.TensorProto.FLOAT
    assert found["a"] == onnx.TensorProto.FLOAT16
    assert any("weight" in line or "loses digits" in line for line in made.kept)


def test_a_sum_inside_an_operator_is_measured(graph: Graph) -> None:
    """Eight values of some 4000 have a mean that is well in range, and a sum that is not."""
    chain = [
        helper.make_node("MatMul", ["x", "w1"], ["1"], name="a"),
        helper.make_node("Mul", ["1", "up"], ["2"], name="b"),
        helper.make_node("Abs", ["2"], ["3"], name="c"),
        helper.make_node("ReduceMean", ["3"], ["4"], name="d", keepdims=1),
        helper.make_node("Mul", ["4", "down"], ["5"], name="e"),
        helper.make_node("Add", ["1", "5"], ["y"], name="f"),
    ]
    stored = {**weights("w1"), "up": np.float32(4000), "down": np.float32(1e-4)}
    found = kinds(convert(graph(chain, stored)))
    assert found["d"] == onnx.TensorProto.FLOAT


def test_a_model_that_nothing_helps_is_refused(graph: Graph) -> None:
    """Every product overflows: nothing is left that could be float16."""
    stored = {name: 1e5 * value for name, value in weights("w1", "w2").items()}
    chain = [
        helper.make_node("MatMul", ["x", "w1"], ["1"], name="a"),
        helper.make_node("MatMul", ["1", "w2"], ["y"], name="b"),
    ]
    with pytest.raises(
        ParityError, match="No convolution or matrix product of the model can compute in float16"
    ):
        convert(graph(chain, stored))


def test_what_is_not_finite_in_float32_is_told(graph: Graph) -> None:
    chain = [
        helper.make_node("MatMul", ["x", "w1"], ["1"], name="a"),
        helper.make_node("Sqrt", ["1"], ["y"], name="b"),
    ]
    with pytest.raises(ModelError, match="already gives NaN or infinity for noise 0 in float32"):
        convert(graph(chain, weights("w1")))


def test_an_answer_beyond_the_budget_is_refused(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploykit_exporters.precision import convert as room
    from deploykit_exporters.precision.answers import Found

    def never(graph: object, kept: Collection[int], measure: object, report: object) -> object:
        return room.Chosen(frozenset(), Found(2.0))

    monkeypatch.setattr(room, "find_islands", never)
    monkeypatch.setattr(room, "found_of", lambda *_: Found(2.0, where="y is off by 2, allowed is 1"))
    chain = [helper.make_node("MatMul", ["x", "w1"], ["y"], name="a")]
    with pytest.raises(ParityError, match="beyond the budget, whatever stays in float32: y is off by 2"):
        convert(graph(chain, weights("w1")))
