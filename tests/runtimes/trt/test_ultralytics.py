"""Engines that Ultralytics wrote: its description, then the plan, in one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.builds.model_folder import read_model
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.trt.engine_file import sidecar_path
from deploykit_runtimes.trt.ultralytics import described, split_engine
from hypothesis import given
from hypothesis import strategies as st

Writer = Callable[..., Path]

NAMES = [f"thing {n}" for n in range(12)]
FACTS: dict[str, Any] = {
    "stride": 32,
    "task": "detect",
    "batch": 1,
    "imgsz": [64, 32],
    "names": dict(enumerate(NAMES)),
    "args": {"dynamic": True},
    "channels": 3,
    "end2end": False,
}


def with_header(plan: bytes, **facts: Any) -> bytes:
    """As ultralytics.utils.export.engine writes it."""
    text = json.dumps({**FACTS, **facts})
    return len(text).to_bytes(4, "little", signed=True) + text.encode() + plan


def test_an_engine_runs_with_its_own_names(machine: Any, write_classifier: Writer, tmp_path: Path) -> None:
    built = build_engine(write_classifier(), runtime=machine.runtime).path
    names = ["ant", "bee", "crow"]
    engine = tmp_path / "classes.engine"
    facts = {"task": "classify", "names": dict(enumerate(names)), "imgsz": [32, 32]}
    engine.write_bytes(with_header(built.read_bytes(), **facts))
    assert not sidecar_path(engine).exists()
    with open_runner(engine, runtime=machine.runtime) as runner:
        assert runner.spec.classes == tuple(names)
        assert runner.spec.task == "classify"
        image = np.zeros((40, 40, 3), np.uint8)
        image[..., 1] = 200
        assert Predictor(runner).predict(image).label == "bee"


@pytest.mark.parametrize(
    ("facts", "layout", "shape"),
    [
        ({}, "yolo", ("batch", 16, "anchors")),
        ({"end2end": True}, "end2end", ("batch", "rows", 6)),
        ({"args": {"nms": True}}, "end2end", ("batch", "rows", 6)),
        ({"task": "segment"}, "yolo", ("batch", 48, "anchors")),
        ({"task": "pose", "kpt_shape": [17, 3]}, "yolo", ("batch", 67, "anchors")),
        ({"task": "obb"}, "yolo", ("batch", 17, "anchors")),
        ({"task": "classify"}, "probabilities", ("batch", 12)),
    ],
)
def test_an_engine_describes_itself(
    facts: dict[str, Any], layout: str, shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "best.engine"
    path.write_bytes(with_header(b"ftrt plan", **facts))
    file = read_model(path)
    spec = file.spec()
    assert spec.classes == tuple(NAMES)
    assert (spec.input.height, spec.input.width) == (64, 32)
    assert spec.output.layout == layout
    assert file.outputs[0].shape == shape
    metadata, plan = split_engine(path)
    assert bytes(plan) == b"ftrt plan"
    assert metadata == file.metadata


def test_fixed_and_half_precision_inputs(tmp_path: Path) -> None:
    path = tmp_path / "best.engine"
    path.write_bytes(with_header(b"", batch=4, args={"dynamic": False, "half": True}))
    assert [str(info) for info in read_model(path).inputs] == ["images float16 [4, 3, 64, 32]"]


@pytest.mark.parametrize(
    "facts",
    [
        {"imgsz": None},
        {"imgsz": "wide"},
        {"imgsz": []},
        {"imgsz": [64, None]},
        {"stride": "x y"},
        {"stride": None},
        {"stride": -1},
        {"names": {"0": "a", "b": "c"}},
        {"task": "fly"},
        {"task": "pose", "kpt_shape": []},
        {"task": "pose", "kpt_shape": 3},
        {"batch": "many", "args": 3, "channels": {}},
    ],
)
def test_damaged_descriptions_are_told_or_read(facts: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "best.engine"
    path.write_bytes(with_header(b"ftrt plan", **facts))
    try:
        assert read_model(path).spec().num_classes == 12
    except ModelError as error:
        assert error.problem


def test_impossible_values_are_told(tmp_path: Path) -> None:
    path = tmp_path / "best.engine"
    path.write_bytes(with_header(b"ftrt plan", stride=0))
    with pytest.raises(ModelError, match="Metadata stride cannot be read"):
        read_model(path).spec()
    nested = b"[" * 100_000
    path.write_bytes(len(nested).to_bytes(4, "little") + nested)
    assert described(path) is None


@given(st.binary(max_size=200))
def test_other_bytes_are_all_plan(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("plans") / "some.engine"
    for plan in (
        data,
        b"ftrt" + data,
        (2).to_bytes(4, "little") + data,
        (1 << 31).to_bytes(4, "little") + data,
    ):
        path.write_bytes(plan)
        if described(path) is None:
            assert split_engine(path) == ({}, plan)
