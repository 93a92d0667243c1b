"""Detectors that show their objects on some of their grids alone, until a picture is made for the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.golden_cases.crafted import LEVELS, levels_of
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.selftest.run import self_test
from onnx import numpy_helper

CORE = ModelSpec(
    task="detect",
    family="yolo",
    variant="v",
    origin="o",
    input=InputSpec(height=64, width=64),
    preprocess=Preprocess(resize="stretch", resize_to=(64, 64)),
    output=OutputSpec(layout="yolo", names=("output",)),
    classes=("a", "b"),
    num_classes=2,
)


@pytest.mark.parametrize(
    ("places", "levels"),
    [([], set()), ([0, 63], {0}), ([64], {1}), ([80, 83], {2}), ([5, 79, 80], {0, 1, 2})],
)
def test_grids_are_told_by_the_places_of_boxes(places: list[int], levels: set[int]) -> None:
    heads = torch.zeros(1, 6, 64 + 16 + 4)  # strides 8, 16 and 32 of 64 x 64 pixels
    heads[0, 5, places] = 0.5
    assert levels_of(heads, CORE, 0.25) == levels
    assert levels_of(heads, CORE, 0.6) == set()


def test_an_output_without_grids_shows_all_or_none() -> None:
    core = replace(CORE, output=OutputSpec(layout="end2end", names=("output",)))
    heads = torch.zeros(1, 3, 6)
    assert levels_of(heads, core, 0.25) == set()
    heads[0, 1, 4] = 0.5
    assert len(levels_of(heads, core, 0.25)) == LEVELS


@pytest.fixture(scope="module")
def pose(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the photo it finds nothing, of noise eleven small boxes."""
    path = tmp_path_factory.mktemp("pose") / "pose.onnx"
    options = ExportOptions(output=path, preprocess=True, postprocess=True, witness=False)
    export(fixtures / "trained" / "pose.pt", options)
    return path


@pytest.mark.parametrize("grid", range(2))
@pytest.mark.parametrize("runtime", ["ort-cpu", "ov-cpu"])
def test_a_fault_of_any_grid_is_seen(pose: Path, tmp_path: Path, grid: int, runtime: str) -> None:
    """The last layer of the classes of a grid answers something else. The coarsest grid of this small network
    never finds anything."""
    model = onnx.load(pose)
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [
        known[node.input[1]]
        for node in model.graph.node
        if node.op_type == "Conv" and f"cv3.{grid}." in node.input[1] and known[node.input[1]].dims[0] == 1
    ]
    (weights,) = layers
    changed = numpy_helper.to_array(weights) * np.float32(0.97)
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    with open_runner(pose, runtime=runtime) as runner:
        assert self_test(runner).ok
    with open_runner(tmp_path / "wrong.onnx", runtime=runtime) as runner:
        assert not self_test(runner).ok
