"""Sizes of gated maps, written down for the runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.passes.note_gates import note_gates
from deploykit_runtimes import load
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort import rewrites
from deploykit_runtimes.ort.gates import repeat_gates
from onnx import TensorProto, helper

EXACT = EngineOptions(exact=True)
BLOCK = """
<ir_version: 8, opset_import: ["": 18]>
g (float[N, 32, {side}, {side}] images) => (float[N, 32, {side}, {side}] gated)
{{
    map = Relu (images)
    pooled = GlobalAveragePool (map)
    gate = Sigmoid (pooled)
    gated = Mul ({order})
}}
"""


def block(order: str = "map, gate", side: str = "7") -> onnx.ModelProto:
    return onnx.parser.parse_model(BLOCK.format(order=order, side=side))


def noted(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
    }


@pytest.mark.parametrize("order", ["map, gate", "gate, map"])
def test_the_map_and_its_gate_alone_are_noted(order: str) -> None:
    model = block(order)
    assert note_gates(model)
    assert noted(model) == {"map": ["N", 32, 7, 7], "gate": ["N", 32, 1, 1]}


@pytest.mark.parametrize(
    "model",
    [block(side="H"), block("map, map"), block("gate, gate"), block("images, gate"), block(side="1")],
    ids=["free", "a square", "no map", "an input", "one pixel"],
)
def test_nothing_else_is_noted(model: onnx.ModelProto) -> None:
    if "gate, gate" in str(model):
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("gated", TensorProto.FLOAT, None))
    assert not note_gates(model)
    assert not model.graph.value_info


@pytest.mark.parametrize("whole", [False, True], ids=["plain", "self-contained"])
@pytest.mark.parametrize("dynamic", [(), ("batch",)], ids=["fixed", "dynamic"])
def test_an_efficientnet_runs_with_repeated_gates(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dynamic: tuple[str, ...], whole: bool
) -> None:
    monkeypatch.setattr(rewrites, "repeating_pays", lambda: True)
    options = ExportOptions(
        output=tmp_path / "net.onnx", dynamic=dynamic, preprocess=whole, postprocess=whole
    )
    path = export(fixtures / "mmpretrain_efficientnet.pth", options).path
    rewritten = repeat_gates(path.read_bytes())
    assert rewritten is not None
    model = onnx.load_from_string(rewritten)
    onnx.checker.check_model(model, full_check=True)
    gates = sum(node.op_type == "Resize" for node in model.graph.node)
    maps = [shape for shape in noted(onnx.load(path)).values() if shape[2:] != [1, 1]]
    pools = sum(node.op_type == "AveragePool" for node in model.graph.node)
    assert len(maps) == pools / 2 - 1  # rows and columns of each, and the head's
    assert gates == sum(int(channels) % 16 == 0 for _, channels, *_ in maps) > 5
    options = EngineOptions(goal="throughput")
    with open_runner(path, options=options) as engine, open_runner(path, options=EXACT) as plain:
        assert plain.placement().rewrites == ()
        assert engine.placement().rewrites == (
            ("repeat_gates", "cast_late") if whole else ("repeat_gates", "append_ranking")
        )
        feeds = feeds_of(plain.inputs[0].dtype, plain.spec.input.shape)
        expected, found = plain.infer(feeds), engine.infer(feeds)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= 1e-5 * np.abs(values).max()


def feeds_of(dtype: str, shape: tuple[int | str, ...]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    if dtype == "uint8":
        return {"images": generator.integers(0, 256, (1, 91, 123, 3), dtype=np.uint8)}
    sizes = [size if isinstance(size, int) else 1 for size in shape]
    return {"images": generator.standard_normal(sizes, dtype=np.float32)}


def test_dynamic_sizes_are_left_alone(fixtures: Path, tmp_path: Path) -> None:
    options = ExportOptions(output=tmp_path / "net.onnx", dynamic=("all",))
    path = export(fixtures / "mmpretrain_efficientnet.pth", options).path
    assert not noted(onnx.load(path))
    assert repeat_gates(path.read_bytes()) is None


def test_prediction_is_the_same(fixtures: Path, tmp_path: Path, photos: dict[str, np.ndarray]) -> None:
    options = ExportOptions(output=tmp_path / "net.onnx")
    path = export(fixtures / "mmpretrain_efficientnet.pth", replace(options, dynamic=("batch",))).path
    with load(path) as model, load(path, options=EXACT) as reference:
        for photo in photos.values():
            # Classes with a score of nothing are in any order.
            found, expected = (
                [entry for entry in each.predict(photo).to_dict()["top"] if entry["score"] > 1e-9]
                for each in (model, reference)
            )
            assert [entry["class_id"] for entry in found] == [entry["class_id"] for entry in expected]
            for one, other in zip(found, expected, strict=True):
                assert abs(one["score"] - other["score"]) < 1e-6
