"""Which graph runs: the file's own where that is asked for, and what was done to it where it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes import load
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.onnx.file import OnnxFile
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort import gates, rewrites
from deploykit_runtimes.ort.rewrites import Rewritten, rewrite
from onnx import helper

GRAPH = """
<ir_version: 8, opset_import: ["": 18]>
g (uint8[1, 2, 2, 16] images) => (float[1, 16] logits)
<float[1, 16, 2, 2] map, float[1, 16, 1, 1] gate>
{
    pixels = Cast <to = 1> (images)
    map = Transpose <perm = [0, 3, 1, 2]> (pixels)
    pooled = GlobalAveragePool (map)
    gate = Sigmoid (pooled)
    gated = Mul (map, gate)
    mean = GlobalAveragePool (gated)
    logits = Flatten (mean)
}
"""
NODES = 7
SPEC = ModelSpec(
    task="classify",
    family="any",
    variant="all at once",
    origin="any",
    input=InputSpec(height=2, width=2, channels=16, dtype="uint8", layout="NHWC"),
    preprocess=Preprocess(included=True, color="as_is", mean=(0.0,) * 16, std=(1.0,) * 16),
    output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
    num_classes=16,
)
EXACT = EngineOptions(exact=True)
ALL = ("repeat_gates", "cast_late", "append_ranking")


@pytest.fixture(autouse=True)
def repeating_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the machines on which gates are repeated."""
    monkeypatch.setattr(rewrites, "repeating_pays", lambda: True)


def write(path: Path, *, described: bool = True) -> Path:
    """A self-contained classifier to which every rewrite applies."""
    model = onnx.parser.parse_model(GRAPH)
    if described:
        helper.set_model_props(model, spec_to_metadata(SPEC))
    onnx.save(model, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx")


def test_exact_is_the_files_own_graph_node_for_node(path: Path) -> None:
    assert rewrite(path, EXACT) == Rewritten()
    with open_runner(path, options=EXACT) as runner:
        placement = runner.placement()
        outputs = [node.name for node in runner._session.get_outputs()]
    assert placement.rewrites == ()
    assert placement.to_dict()["rewrites"] == []
    assert placement.providers == {"CPUExecutionProvider": NODES}
    assert "rewritten" not in str(placement)
    assert outputs == ["logits"]


def test_what_was_applied_is_named_and_its_nodes_are_counted(path: Path) -> None:
    found = rewrite(path, EngineOptions())
    assert found.names == ALL
    assert found.model is not None
    nodes = len(onnx.load_from_string(found.model).graph.node)
    with open_runner(path) as runner:
        placement = runner.placement()
    assert placement.rewrites == ALL
    assert json.loads(json.dumps(placement.to_dict()))["rewrites"] == list(ALL)
    assert str(placement).endswith(", fp32, rewritten at load: repeat_gates, cast_late, append_ranking")
    assert placement.providers == {"CPUExecutionProvider": nodes}
    assert nodes > NODES


def test_both_give_the_declared_outputs_and_the_same_answers(path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 2, 16), dtype=np.uint8)
    with load(path) as model, load(path, options=EXACT) as exact:
        assert model.runner.outputs == exact.runner.outputs
        found, expected = (each.runner.infer({"images": images}) for each in (model, exact))
        assert found.keys() == expected.keys() == {"logits"}
        assert np.allclose(found["logits"], expected["logits"], rtol=1e-5)
        assert exact.runner.infer_best({"images": images}, 5)[1] is None
        one, other = (each.predict(images[0]).top for each in (model, exact))
        assert [entry.class_id for entry in one] == [entry.class_id for entry in other]


@pytest.mark.parametrize(
    "options",
    [EngineOptions(threads=1), EngineOptions(strict=True), EngineOptions(goal="throughput", detached=True)],
    ids=repr,
)
def test_load_leaves_the_callers_options_alone(
    options: EngineOptions, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(path: Path, options: EngineOptions, file: OnnxFile) -> Rewritten:
        seen.append(options)
        return rewrite(path, options, file)

    monkeypatch.setattr("deploykit_runtimes.ort.runner.rewrite", note)
    for exact in (False, True):
        with load(path, options=replace(options, exact=exact)) as model:
            assert model.placement().rewrites == (() if exact else ALL)
    assert seen == [replace(options, exact=exact) for exact in (False, True)]


def test_files_by_others_are_opened_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "other.onnx", described=False)
    assert rewrite(path, EngineOptions()) == Rewritten()


def test_gates_are_left_alone_on_other_machines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrites, "repeating_pays", lambda: False)
    assert rewrite(path, EngineOptions()).names == ("cast_late", "append_ranking")


@pytest.mark.parametrize(
    ("machine", "flags", "pays"),
    [
        ("x86_64", "fma avx2", True),
        ("AMD64", "avx2", True),
        ("x86_64", "avx2 avx512f", False),
        ("x86_64", "sse4_2", False),
        ("x86_64", "", False),
        ("aarch64", "asimd", False),
    ],
)
def test_gates_are_repeated_where_that_was_measured_to_be_faster(
    machine: str, flags: str, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates.platform, "machine", lambda: machine)
    monkeypatch.setattr(gates, "cpu_flags", lambda: frozenset(flags.split()))
    assert gates.repeating_pays() is pays


def test_an_output_that_is_named_as_the_ranking_stays_the_files_own(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GRAPH.replace("logits", "answers"))
    model.graph.node[-1].output[0] = model.graph.output[0].name = "deploykit.scores"
    output = replace(SPEC.output, names=("deploykit.scores",))
    helper.set_model_props(model, spec_to_metadata(replace(SPEC, output=output)))
    onnx.save(model, tmp_path / "named.onnx")
    with open_runner(tmp_path / "named.onnx") as runner:
        assert [info.name for info in runner.outputs] == ["deploykit.scores"]
        assert runner.placement().rewrites == ("repeat_gates", "cast_late")
