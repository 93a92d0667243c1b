"""Networks that are chaotic on noise are proven, and wrong files of them are still refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.cases import natural_case, stand_ins
from deploykit_exporters.proof.float64 import LOOSEST, Float64Reference
from deploykit_exporters.proof.tensors import compare, proof_cases, prove
from deploykit_exporters.proof.torch_runner import TorchRunner
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ParityError
from efficientnet_pytorch import EfficientNet
from sklearn.datasets import load_digits
from torch import nn

SIZE = 64
ORIGINS: dict[str, Callable[[], nn.Module]] = {
    "timm": lambda: timm.create_model("efficientnet_b0", num_classes=3),
    "timm, from TensorFlow": lambda: timm.create_model("tf_efficientnetv2_b0", num_classes=3),
    "timm, V2": lambda: timm.create_model("efficientnetv2_rw_t", num_classes=3),
    "torchvision": lambda: torchvision.models.efficientnet_b0(num_classes=3),
    "lukemelas": lambda: EfficientNet.from_name("efficientnet-b0", num_classes=3, image_size=SIZE),
}


def trained_on_digits(network: nn.Module) -> nn.Module:
    """Default weights with the statistics of digits, as after the first steps of a training: what is not
    as even as a digit, noise above all, makes activations explode."""
    digits = torch.tensor(load_digits(n_class=3).images[:48] / 16).float()[:, None].repeat(1, 3, 1, 1)
    images = (nn.functional.interpolate(digits, (SIZE, SIZE), mode="bilinear") - 0.45) / 0.225
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    network.train()
    with torch.no_grad():
        for batch in images.split(24):
            network(batch)
    return network.eval()


def checkpoint(origin: str, folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "net.pth"
    torch.save(trained_on_digits(ORIGINS[origin]()).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("origin", "dynamic"), [*((name, False) for name in ORIGINS), ("timm", True), ("torchvision", True)]
)
def test_a_right_file_of_a_chaotic_network_is_proven(origin: str, dynamic: bool, tmp_path: Path) -> None:
    path = checkpoint(origin, tmp_path)
    options = ExportOptions(dynamic=dynamic, imgsz=SIZE, output=tmp_path / "net.onnx", witness=False)
    record = export(path, options).spec.parity
    assert record is not None
    assert record.max_rel <= record.tolerance == 1e-4
    if origin != "lukemelas":  # whose weights are calmer: float32 may tell, as it rounds on this machine
        assert "float64" in record.precision
        assert "picture" in record.inputs
    assert len(record.shapes) == (3 if dynamic else 1)
    assert "photo" in record.inputs


@pytest.fixture(scope="module")
def chaotic(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuiltModel, ModelSpec]:
    path = checkpoint("timm", tmp_path_factory.mktemp("chaotic"))
    built = load_checkpoint(path, Hints(imgsz=(SIZE, SIZE))).built
    return built, replace(built.spec, input=replace(built.spec.input, dynamic=dict(built.axes)))


def prove_changed(chaotic: tuple[BuiltModel, ModelSpec], change: Callable[[nn.Module], object]):
    built, spec = chaotic
    module = copy.deepcopy(built.module)
    changed = change(module)
    module = changed if isinstance(changed, nn.Module) else module
    reference, candidate = TorchRunner(built, spec), TorchRunner(replace(built, module=module), spec)
    exact = Float64Reference(built.module, spec.output.names)
    return prove(reference, candidate, built.groups, proof_cases(spec), exact=exact)


def test_the_same_network_passes(chaotic) -> None:
    assert prove_changed(chaotic, lambda module: None).precision == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.classifier.bias.add_(0.01),
        lambda module: module.classifier.weight[0].mul_(1.01),
        lambda module: module.conv_stem.weight[3].mul_(1.05),
        lambda module: module.blocks[3][1].bn2.bias.add_(0.05),
        lambda module: module.blocks[5][0].conv_dw.weight.copy_(module.blocks[5][0].conv_dw.weight.flip(3)),
        lambda module: setattr(module.bn2, "eps", 1e-3),
    ],
    ids=["a bias", "a class", "a channel of the stem", "a norm", "a mirrored kernel", "an eps"],
)
def test_a_wrong_file_of_a_chaotic_network_is_refused(chaotic, change) -> None:
    with pytest.raises(ParityError, match="off by"):
        prove_changed(chaotic, change)


def test_noise_that_says_nothing_is_left_out_and_said_so(chaotic) -> None:
    built, spec = chaotic
    exact = Float64Reference(built.module, spec.output.names)
    noise = [case for case in proof_cases(spec) if not case.natural]
    for case in noise:
        wanted = exact.exact(case.images)["logits"]
        own = max(np.abs(each["logits"] - wanted).max() for each in exact.float32(case.images))
        assert own / np.abs(wanted).max() > LOOSEST
    record = prove_changed(chaotic, Nudged)
    for case in noise:
        assert f"noise {case.shape} left out, float32 itself is" in record.precision
    assert "noise" not in record.inputs


class Nudged(nn.Module):
    """The same network on pixels that are a bit in the last place off, as another engine rounds."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(torch.nextafter(images, torch.full_like(images, torch.inf)))


def test_pictures_calm_down_towards_an_even_grey(chaotic) -> None:
    _, spec = chaotic
    std = np.asarray(spec.preprocess.std, np.float32)[:, None, None]
    mean = np.asarray(spec.preprocess.mean, np.float32)[:, None, None]
    picture = natural_case((2, 3, 40, 56), spec)
    softer = stand_ins(picture, spec)
    assert [case.softened for case in softer] == [1, 2, 3]
    for case in softer:
        assert (case.images.shape, case.images.dtype) == ((2, 3, 40, 56), np.float32)
        pixels, softened = (one.images * std + mean for one in (picture, case))
        np.testing.assert_allclose(
            softened - softened.mean((1, 2, 3), keepdims=True),
            (pixels - pixels.mean((1, 2, 3), keepdims=True)) / 2**case.softened,
            atol=1e-6,
        )


def test_a_network_whose_float32_says_nothing_of_any_picture_is_refused(chaotic) -> None:
    class LastBits(nn.Module):
        """Answers with what rounding leaves over."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.sin((images * images).sum((2, 3)) * 1e6)

    with pytest.raises(ParityError, match="Nothing can be proven about this network at 1x3x64x64"):
        built, spec = chaotic
        built = replace(built, module=LastBits())
        candidate = TorchRunner(replace(built, module=Nudged(LastBits())), spec)
        exact = Float64Reference(built.module, spec.output.names)
        prove(TorchRunner(built, spec), candidate, built.groups, proof_cases(spec), exact=exact)


@pytest.mark.parametrize(
    "name",
    [
        "golden/crossformer/crossformer.pth",
        "golden/crossformer/crossformer_pp.pth",
        "fixtures/mmpretrain_vit.pth",
        "fixtures/yolov5_segment.pt",
        "fixtures/yolox_plain.pth",
        "yolo11n-seg",
        "yolo26n",
    ],
)
def test_every_family_can_be_computed_in_float64(name: str, golden: Path, ultralytics_file) -> None:
    path = ultralytics_file(name)[0] if name.startswith("yolo") else golden.parent / name
    built = load_checkpoint(path, Hints()).built
    case = natural_case((2, 3, built.spec.input.height, built.spec.input.width), built.spec)
    exact = Float64Reference(built.module, built.spec.output.names)
    wanted = exact.exact(case.images)
    for found in exact.float32(case.images):
        for group in built.groups:
            assert wanted[group.output].dtype == np.float64
            assert found[group.output].dtype == np.float32
            assert compare(wanted[group.output], found[group.output], group).max_rel < 1e-4
