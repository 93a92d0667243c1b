"""Every setting of a YOLOv5 file: the answers that the repository's own code recorded, or a refusal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import children
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.yolo.yolov5 import dialect as yolov5
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.proof.tensors import compare
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, OptionError


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = yolov5.match(checkpoint)
    assert match is not None
    return yolov5.build(checkpoint, match, Hints(**hints))


def assert_recorded(built: BuiltModel, fixtures: Path, name: str) -> None:
    with np.load(fixtures / f"yolov5_{name}.npz") as recorded, torch.inference_mode():
        found: Any = built.module(torch.from_numpy(recorded["images0"].astype(np.float32) / 255))
        found = found if isinstance(found, tuple) else (found,)
        for group in built.groups:
            place = built.spec.output.names.index(group.output)
            want = recorded[f"output{place}_0"]
            assert compare(want, found[place].numpy(), group).max_rel <= 1e-5


HEAD: list[dict[str, Any]] = [
    *({"export": value} for value in (True, False)),
    *({"dynamic": value} for value in (True, False)),
    *({"inplace": value} for value in (True, False)),
    {"grid": [torch.ones(1)] * 3},
    {"anchor_grid": [torch.ones(1)] * 3},
    {"onnx_dynamic": True},
    {"unheard_of": 3},
]
MODEL: list[dict[str, Any]] = [
    {"inplace": False},
    {"nc": 80},
    {"hyp": {"box": 0.05}},
    {"gr": 0.5},
    {"class_weights": torch.ones(3)},
    {"yaml": {"nc": 80, "anchors": 7}},
    {"yaml": None},
    {"save": [1]},
    {"unheard_of": 3},
]
FILE: list[dict[str, Any]] = [
    *({"opt": {"imgsz": 128, name: value}} for name, value in (("single_cls", True), ("rect", True))),
    *({"opt": {"imgsz": 128, name: value}} for name, value in (("hyp", "x.yaml"), ("half", True), ("a", 1))),
    {"epoch": 3},
    {"wandb_id": "7"},
    {"git": {"branch": "master"}},
    {"unheard_of": 3},
]


@pytest.mark.parametrize("name", ["detect", "segment", "classify", "focus"])
@pytest.mark.parametrize("where", ["head", "model", "file"])
def test_settings_that_cannot_change_an_answer(where: str, name: str, fixtures: Path) -> None:
    for attributes in {"head": HEAD, "model": MODEL, "file": FILE}[where]:
        checkpoint = read_checkpoint(fixtures / f"yolov5_{name}.pt")
        tree = checkpoint.module
        if where == "file":
            checkpoint = dataclasses.replace(checkpoint, meta={**checkpoint.meta, **attributes})
        else:
            owner = tree if where == "model" else list(children(children(tree)["model"]).values())[-1]
            for key, value in attributes.items():
                setattr(owner, key, value)
        built = build(checkpoint)
        assert_recorded(built, fixtures, name)
        unknown = [one.name for one in built.settings if one.treatment == "unknown"]
        assert unknown == [key for key in attributes if key == "unheard_of"]


def test_strides_that_disagree_are_refused(fixtures: Path) -> None:
    checkpoint = read_checkpoint(fixtures / "yolov5_detect.pt")
    checkpoint.module.stride = torch.tensor([8.0, 16.0, 64.0])
    with pytest.raises(CheckpointError, match=r"model says stride = \[8\.0, 16\.0, 64\.0\]") as refused:
        build(checkpoint)
    assert "--ignore model:stride" in refused.value.hint
    assert_recorded(build(checkpoint, ignore=("model:stride",)), fixtures, "detect")


def test_an_ignored_setting_counts_as_not_given(fixtures: Path) -> None:
    spec = load_checkpoint(
        fixtures / "yolov5_detect.pt", Hints(ignore=("opt:imgsz", "model:names"))
    ).built.spec
    assert (spec.input.height, spec.classes) == (640, ())
    assert any("image size 640" in line for line in spec.assumed)


def test_every_setting_is_listed(fixtures: Path) -> None:
    built = load_checkpoint(fixtures / "yolov5_segment.pt", Hints()).built
    found = {one.path: one.treatment for one in built.settings}
    assert found["opt:imgsz"] == found["model:names"] == found["head:nm"] == "honoured"
    assert found["model:yaml"] == found["head:anchor_grid"] == found["file:date"] == "harmless"
    assert "unknown" not in found.values()


@pytest.mark.parametrize(
    ("hints", "error", "problem"),
    [
        ({"config": {"act": "relu"}}, CheckpointError, "config has settings .* act = 'relu'"),
        ({"head": "one-to-many"}, OptionError, "--head one-to-many is not in this file"),
        ({"head_activation": "gelu"}, OptionError, "--head-activation is not available"),
        ({"features": True}, OptionError, "--features is not available"),
    ],
)
def test_options_that_nobody_reads_are_refused(
    hints: dict[str, Any], error: type[Exception], problem: str, fixtures: Path
) -> None:
    for name in ("yolov5_detect.pt", "yolox_plain.pth"):
        if name.startswith("yolox") and "config" in hints:
            continue
        with pytest.raises(error, match=problem):
            load_checkpoint(fixtures / name, Hints(**hints))


def test_there_is_no_witness_and_the_reason_is_told(fixtures: Path) -> None:
    built = load_checkpoint(fixtures / "yolov5_detect.pt", Hints()).built
    assert ask_witness(built, built.spec).startswith("none: the constructor of YOLOv5 evaluates")
