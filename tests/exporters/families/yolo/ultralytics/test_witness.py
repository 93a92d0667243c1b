"""Ultralytics' own constructor and pre-processing as the second reader of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from deploykit_exporters.families.base import BuiltModel, Hints, Witness
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import ParityError
from torch import nn

NAMES = ("yolov8n", "yolo11n-seg", "yolo11n-pose", "yolo11n-obb", "yolo11n-cls", "yolov10n", "yolo26n-seg")


def build(path: Any, **hints: Any) -> BuiltModel:
    return load_checkpoint(path, Hints(**hints)).built


@pytest.mark.parametrize("name", NAMES)
def test_both_readers_agree(name: str, ultralytics_file: Callable[..., Any]) -> None:
    path, _ = ultralytics_file(name)
    for hints in ({}, {"imgsz": (96, 128)}, *([{"head": "one-to-many"}] if name in ("yolov10n",) else [])):
        built = build(path, **hints)
        said = ask_witness(built, built.spec)
        assert said.startswith("ultralytics 8")
        assert "100.00% of the pixels equal" in said


def test_the_witness_has_weights_and_modules_of_its_own(ultralytics_file: Callable[..., Any]) -> None:
    built = build(ultralytics_file("yolov8n")[0])
    assert built.witness is not None
    found = built.witness()
    assert isinstance(found, Witness)
    ours = {tensor.data_ptr() for tensor in built.module.state_dict().values()}
    assert not ours & {tensor.data_ptr() for tensor in found.module.state_dict().values()}


def eps(model: nn.Module) -> None:
    next(one for one in model.modules() if isinstance(one, nn.BatchNorm2d)).eps = 0.1


def activation(model: nn.Module) -> None:
    block: Any = next(one for one in model.modules() if type(one).__name__ == "Conv")
    block.act = nn.ReLU()


def stride(model: nn.Module) -> None:
    layers: Any = model.network.model
    layers[-1].stride = layers[-1].stride * 1.01


@pytest.mark.parametrize("plant", [eps, activation, stride])
def test_a_wrong_reading_of_the_network_is_found(
    plant: Callable[[nn.Module], None], ultralytics_file: Callable[..., Any]
) -> None:
    built = build(ultralytics_file("yolov8n")[0])
    plant(built.module)
    with pytest.raises(ParityError, match="read this checkpoint differently"):
        ask_witness(built, built.spec)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("yolov8n", {"pad_value": 0}),
        ("yolov8n", {"color": "bgr"}),
        ("yolov8n", {"anchor": "top_left"}),
        ("yolov8n", {"resize": "stretch"}),
        ("yolo11n-cls", {"interpolation": "bicubic"}),
        ("yolo11n-cls", {"mean": (0.5, 0.5, 0.5)}),
        ("yolo11n-cls", {"resize_to": (184,)}),
    ],
)
def test_wrong_pre_processing_is_found(
    name: str, change: dict[str, Any], ultralytics_file: Callable[..., Any]
) -> None:
    built = build(ultralytics_file(name)[0])
    spec = dataclasses.replace(built.spec, preprocess=dataclasses.replace(built.spec.preprocess, **change))
    with pytest.raises(ParityError, match="prepare images differently"):
        ask_witness(built, spec)


def test_files_whose_modules_are_not_those_of_their_yaml_have_none(
    ultralytics_file: Callable[..., Any],
) -> None:
    """Their modules are read all the same: what was pickled is the truth."""

    def surgery(model: Any) -> None:
        model.model[0].act = nn.ReLU()

    def fuse(model: Any) -> None:
        model.fuse(verbose=False)

    def forget(model: Any) -> None:
        model.yaml = None

    def rewrite(model: Any) -> None:
        model.yaml["backbone"][0][2] = "torch_safe_load"

    said = {}
    for edit in (surgery, fuse, forget, rewrite):
        built = build(ultralytics_file("yolov8n", edit=edit)[0])
        said[edit] = ask_witness(built, built.spec)
        with torch.inference_mode():
            built.module(torch.rand(1, 3, 64, 64))
    assert said[surgery].endswith("(model.0.act is a ReLU, not a SiLU)")
    assert "builds another network from the yaml" in said[fuse]
    assert "does not hold the yaml" in said[forget]
    assert "has a layer torch_safe_load" in said[rewrite]
    assert all(text.startswith("none: ") for text in said.values())
