"""timm's EfficientNets with GroupNorm, grouped depthwise convolutions and CondConv, against timm itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError
from torch import nn

Perturb = Callable[..., nn.Module]
NAMES = (
    "efficientnet_b0_gn",
    "efficientnet_b0_g8_gn",
    "efficientnet_cc_b0_4e",
    "tf_efficientnet_cc_b0_4e",
    "tf_efficientnet_cc_b0_8e",
)
SIZES = ((64, 64), (75, 97))


def model(name: str, perturb: Perturb, **settings: Any) -> Any:
    torch.manual_seed(0)
    return perturb(timm.create_model(name, num_classes=5, **settings), 2)


def build(network: Any, path: str = "best.pth", **meta: Any) -> BuiltModel:
    hints = meta.pop("hints", Hints())
    checkpoint = Checkpoint(
        path=Path(path), sha256="", container="torch", tensors=network.state_dict(), meta=meta
    )
    family, match = recognise(checkpoint, hints)
    assert (family.name, match.origin) == ("efficientnet", "timm")
    return family.build(checkpoint, match, hints)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_timm(name: str, perturb: Perturb) -> None:
    network = model(name, perturb)
    built = build(network, arch=name)
    assert built.spec.variant == name
    assert "timm" in ask_witness(built, built.spec)
    with torch.inference_mode():
        for size in SIZES:
            # Images that differ: each mixes kernels of its own.
            images = torch.randn(3, 3, *size) * torch.tensor([0.1, 1.0, 3.0])[:, None, None, None]
            assert off(built.module(images), network(images)) < 1e-5
            assert off(built.module(images)[:1], network(images[:1])) < 1e-5


@pytest.mark.parametrize("name", ["efficientnet_b0_gn", "tf_efficientnet_cc_b0_4e"])
def test_feature_maps_are_those_of_timm(name: str, perturb: Perturb) -> None:
    network = model(name, perturb)
    built = build(network, arch=name, hints=Hints(features=True))
    assert built.witness is not None
    witness = built.witness()
    assert not isinstance(witness, str)
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        for found, expected in zip(built.module(images), witness.module(images), strict=True):
            assert off(found, expected) < 1e-5


@pytest.mark.parametrize("name", ["efficientnet_b0_gn", "tf_efficientnet_cc_b0_4e"])
def test_one_file_takes_every_batch_and_size(tmp_path: Path, name: str, perturb: Perturb) -> None:
    network = model(name, perturb)
    torch.save({"arch": name, "state_dict": network.state_dict()}, tmp_path / "w.pth")
    options = ExportOptions(output=tmp_path / "m.onnx", dynamic=("all",), imgsz=(64, 64))
    result = export(tmp_path / "w.pth", options)
    assert result.spec.parity is not None
    session = onnxruntime.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    for count, size in ((1, (64, 64)), (3, (97, 75))):
        images = torch.randn(count, 3, *size)
        with torch.inference_mode():
            expected = network(images)
        found = session.run(None, {"images": images.numpy()})[0]
        assert off(torch.from_numpy(np.asarray(found)), expected) < 1e-4


def test_the_name_of_a_released_file_tells_the_padding(perturb: Perturb) -> None:
    network = model("tf_efficientnet_cc_b0_4e", perturb)
    built = build(network, "tf_efficientnet_cc_b0_4e-4362b6b2.pth")
    assert built.spec.variant == "tf_efficientnet_cc_b0_4e"
    images = torch.randn(1, 3, 75, 97)
    with torch.inference_mode():
        assert off(built.module(images), network(images)) < 1e-5


def test_groups_that_nobody_names_are_refused(perturb: Perturb) -> None:
    with pytest.raises(CheckpointError, match="how many channels a GroupNorm groups"):
        build(model("efficientnet_b0_gn", perturb))


def test_layers_that_are_not_read_are_named(perturb: Perturb) -> None:
    with pytest.raises(CheckpointError, match="BlurPool2d"):
        build(model("efficientnet_blur_b0", perturb), arch="efficientnet_blur_b0")


def test_a_pickled_module_tells_its_groups(tmp_path: Path, perturb: Perturb) -> None:
    network = model("efficientnet_b0_gn", perturb)
    torch.save(network, tmp_path / "whole.pth")
    checkpoint = read_checkpoint(tmp_path / "whole.pth")
    family, match = recognise(checkpoint, Hints())
    built = family.build(checkpoint, match, Hints())
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert off(built.module(images), network(images)) < 1e-5
