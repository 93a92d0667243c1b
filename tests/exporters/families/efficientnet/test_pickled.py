"""EfficientNets whose module was pickled, and the padding of EfficientNet-PyTorch, made for one size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import torchvision
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import CheckpointError, OptionError
from efficientnet_pytorch import EfficientNet
from torch import nn

Perturb = Callable[[nn.Module, int], nn.Module]
SIZES = [(64, 64), (97, 97), (96, 130), (75, 50)]


def built_from(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    family, match = recognise(checkpoint, Hints(**hints))
    return family.build(checkpoint, match, Hints(**hints))


def pickled(model: nn.Module, folder: Path) -> Checkpoint:
    torch.save(model, folder / "whole.pth")
    return read_checkpoint(folder / "whole.pth")


def bare(model: nn.Module) -> Checkpoint:
    return Checkpoint(path=Path("w.pth"), sha256="", container="torch", tensors=model.state_dict())


def assert_equal_at_every_size(built: BuiltModel, model: nn.Module) -> None:
    for height, width in SIZES:
        images = torch.randn(1, 3, height, width, dtype=torch.float64)
        with torch.inference_mode():
            expected, found = model.double()(images), built.module.double()(images)
        assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max()), (height, width)


@pytest.mark.parametrize("image_size", [64, 97, [96, 130], None], ids=str)
def test_a_pickled_network_keeps_the_padding_that_it_was_built_with(
    tmp_path: Path, perturb: Perturb, image_size: Any
) -> None:
    model = perturb(EfficientNet.from_name("efficientnet-b0", image_size=image_size, num_classes=4).eval(), 1)
    built = built_from(pickled(model, tmp_path))
    assert_equal_at_every_size(built, model)
    assert not any("padding" in line for line in built.spec.assumed)


@pytest.mark.parametrize("image_size", [64, 97, [96, 130]], ids=str)
def test_the_user_tells_the_size_that_the_weights_do_not(perturb: Perturb, image_size: Any) -> None:
    model = perturb(EfficientNet.from_name("efficientnet-b0", image_size=image_size, num_classes=4).eval(), 1)
    assert_equal_at_every_size(built_from(bare(model), config={"image_size": image_size}), model)
    unasked = built_from(bare(model))
    assert any("the padding of the image_size" in line for line in unasked.spec.assumed)


def test_another_image_size_is_another_network(perturb: Perturb) -> None:
    """The check above can fail: the padding matters."""
    model = perturb(EfficientNet.from_name("efficientnet-b0", image_size=97, num_classes=4).eval(), 1)
    built = built_from(bare(model), config={"image_size": 64})
    with pytest.raises(AssertionError, match="64, 64"):
        assert_equal_at_every_size(built, model)


@pytest.mark.parametrize("size", ["large", 0, [1, 2, 3], -4])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    model = EfficientNet.from_name("efficientnet-b0", num_classes=4)
    with pytest.raises(OptionError, match="image_size"):
        built_from(bare(model), config={"image_size": size})


def test_the_padding_of_one_size_is_in_the_file_at_every_size(tmp_path: Path, perturb: Perturb) -> None:
    model = perturb(EfficientNet.from_name("efficientnet-b0", image_size=97, num_classes=4).eval(), 1)
    torch.save(model, tmp_path / "whole.pth")
    export(
        tmp_path / "whole.pth",
        ExportOptions(output=tmp_path / "m.onnx", dynamic=("batch", "height", "width")),
    )
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for height, width in SIZES:
        images = torch.randn(1, 3, height, width)
        with torch.inference_mode():
            expected = model(images).numpy()
        found = session.run(None, {"images": images.numpy()})[0]
        assert abs(found - expected).max() <= 1e-4 * abs(expected).max()


@pytest.mark.parametrize("eps", [None, 0.02])
@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_s"])
def test_a_pickled_network_of_torchvision_tells_its_eps(
    tmp_path: Path, perturb: Perturb, name: str, eps: float | None
) -> None:
    model = perturb(getattr(torchvision.models, name)(num_classes=4).eval(), 2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps or module.eps
    assert_equal_at_every_size(built_from(pickled(model, tmp_path)), model)


def test_a_pickled_network_with_another_activation_is_built_with_it(tmp_path: Path, perturb: Perturb) -> None:
    model: Any = torchvision.models.efficientnet_b0(num_classes=4)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.SiLU):
                setattr(module, name, nn.GELU())
            if name == "activation":
                module.activation = nn.GELU()
    perturb(model.eval(), 3)
    assert_equal_at_every_size(built_from(pickled(model, tmp_path)), model)


def stride(model: Any) -> None:
    model.features[0][0].stride = (1, 1)


def dilation(model: Any) -> None:
    model.features[7][0].block[1][0].dilation = (2, 2)


def one_norm(model: Any) -> None:
    model.features[0][1].eps = 0.5


def one_activation(model: Any) -> None:
    model.features[0][2] = nn.ReLU()


def unknown_activation(model: Any) -> None:
    model.features[0][2] = nn.PReLU()


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (stride, r"stride = \(1, 1\) at features.0.0.weight"),
        (dilation, r"dilation = \(2, 2\)"),
        (one_norm, "several eps"),
        (one_activation, "several activations"),
        (unknown_activation, "PReLU|left over"),
    ],
)
def test_a_pickled_network_that_was_changed_is_refused_by_what_was(
    tmp_path: Path, edit: Callable[[Any], None], problem: str
) -> None:
    model = torchvision.models.efficientnet_b0(num_classes=4)
    edit(model)
    with pytest.raises(CheckpointError, match=problem):
        built_from(pickled(model, tmp_path))


def test_settings_of_an_efficientnet_at_any_place_are_not_passed_over() -> None:
    model = torchvision.models.efficientnet_b0(num_classes=4)
    told = {"hyper_parameters": {"act_layer": "relu", "lr": 0.1}}
    checkpoint = Checkpoint(
        path=Path("w.ckpt"), sha256="", container="torch", tensors=model.state_dict(), meta=told
    )
    with pytest.raises(CheckpointError, match=r"act_layer = 'relu' .*; deploykit would build silu") as error:
        built_from(checkpoint)
    assert error.value.hint.endswith("--ignore hyper_parameters:act_layer")
    assert built_from(checkpoint, ignore=("hyper_parameters:act_layer",)).spec.num_classes == 4


@pytest.mark.parametrize("origin", ["torchvision", "lukemelas"])
def test_another_pooling_of_a_pickled_network_is_refused(tmp_path: Path, origin: str) -> None:
    model: Any
    if origin == "torchvision":
        model = torchvision.models.efficientnet_b0(num_classes=4)
        model.avgpool = nn.AdaptiveMaxPool2d(1)
    else:
        model = EfficientNet.from_name("efficientnet-b0", num_classes=4)
        model._avg_pooling = nn.AdaptiveMaxPool2d(1)
    with pytest.raises(CheckpointError, match="a AdaptiveMaxPool2d"):
        built_from(pickled(model.eval(), tmp_path))
    assert built_from(pickled(model.eval(), tmp_path), features=True).spec.task == "features"


def test_another_gate_of_a_pickled_network_is_refused(tmp_path: Path) -> None:
    model = torchvision.models.efficientnet_b0(num_classes=4)
    for module in model.modules():
        if isinstance(module, torchvision.ops.SqueezeExcitation):
            module.scale_activation = nn.Hardsigmoid()
    with pytest.raises(CheckpointError, match="a Hardsigmoid"):
        built_from(pickled(model.eval(), tmp_path))


@pytest.mark.parametrize(
    "model",
    [
        lambda: torchvision.models.efficientnet_b0(
            num_classes=4, norm_layer=partial(nn.BatchNorm2d, eps=0.02)
        ),
        lambda: EfficientNet.from_name(
            "efficientnet-b0", num_classes=4, image_size=64, batch_norm_epsilon=0.02
        ),
    ],
    ids=["torchvision", "lukemelas"],
)
def test_the_eps_of_weights_alone_is_assumed_and_can_be_told(model: Any, perturb: Perturb) -> None:
    network = perturb(model(), 1).eval()
    (said,) = (line for line in built_from(bare(network)).spec.assumed if "BatchNorm eps" in line)
    assert 'override as in --config \'{"eps": ' in said
    told = built_from(bare(network), config={"eps": 0.02}, imgsz=(64, 64))
    assert not any("BatchNorm eps" in line for line in told.spec.assumed)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(told.module(images), network(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(OptionError, match="eps = -1; wanted a number between 0 and 1"):
        built_from(bare(network), config={"eps": -1})
