"""torchvision's models and training script: what a file tells is followed or refused, and torchvision itself
is the witness."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, ParityError
from deploykit_runtimes.pixels.preprocess import preprocess
from PIL import Image
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

Perturb = Callable[[nn.Module, int], Any]
TINY: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 16,
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 48,
    "mlp_dim": 96,
    "num_classes": 5,
}
OTHER: dict[str, list[Any]] = {
    "image_size": [32, 96],
    "patch_size": [8, 32],
    "num_layers": [1, 3],
    "num_heads": [6, 1, 4],
    "hidden_dim": [60],
    "mlp_dim": [40],
    "dropout": [0.5],
    "attention_dropout": [0.5],
    "num_classes": [1, 9],
    "representation_size": [40],
    "norm_layer": [partial(nn.LayerNorm, eps=0.1), nn.LayerNorm],
}


def built_from(path: Path, **hints: Any) -> BuiltModel:
    checkpoint = read_checkpoint(path)
    family, match = recognise(checkpoint, Hints(**hints))
    return family.build(checkpoint, match, Hints(**hints))


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in OTHER.items() for value in values], ids=str
)
def test_a_pickled_vit_with_another_argument_is_equal(
    tmp_path: Path, perturb: Perturb, key: str, value: Any
) -> None:
    model = perturb(VisionTransformer(**{**TINY, key: value}).eval(), 1)
    torch.save(model, tmp_path / "whole.pth")
    built = built_from(tmp_path / "whole.pth")
    images = torch.randn(2, 3, built.spec.input.height, built.spec.input.width)
    with torch.inference_mode():
        expected, found = model(images), built.module(images)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert not any("attention heads" in line for line in built.spec.assumed)


def other_activation(model: Any) -> None:
    model.encoder.layers[0].mlp[1] = nn.ReLU()


def other_eps(model: Any) -> None:
    model.encoder.layers[1].ln_2.eps = 0.1


@pytest.mark.parametrize(("edit", "problem"), [(other_activation, "GELU, ReLU"), (other_eps, "1e-06, 0.1")])
def test_a_pickled_vit_that_was_changed_is_refused(
    tmp_path: Path, edit: Callable[[Any], None], problem: str
) -> None:
    model = VisionTransformer(**TINY)
    edit(model)
    torch.save(model, tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=problem):
        built_from(tmp_path / "whole.pth")


def trained(folder: Path, network: nn.Module, **args: Any) -> Path:
    """As ``references/classification/train.py`` saves it."""
    path = folder / "model_9.pth"
    torch.save({"model": network.state_dict(), "optimizer": {}, "epoch": 9, "args": Namespace(**args)}, path)
    return path


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_the_arguments_of_the_training_script_tell_the_preprocessing(
    tmp_path: Path, perturb: Perturb, photos: dict[str, np.ndarray], interpolation: str
) -> None:
    model = perturb(torchvision.models.efficientnet_b0(num_classes=4).eval(), 2)
    images = {"val_resize_size": 150, "val_crop_size": 128, "interpolation": interpolation}
    path = trained(tmp_path, model, model="efficientnet_b0", lr=0.1, hedgehogs=3, **images)
    built = built_from(path)
    assert (built.spec.input.height, built.spec.recognised[1]) == (
        128,
        "Pre-processing is from the training arguments.",
    )
    process = ImageClassification(
        crop_size=128, resize_size=150, interpolation=InterpolationMode(interpolation)
    )
    expected = process(Image.fromarray(photos["cat"])).numpy()
    found, _ = preprocess(photos["cat"], built.spec)
    assert float(np.abs(found - expected).max()) <= 1.01 / 255 / 0.224
    treatments = {setting.name: setting.treatment for setting in built.settings}
    assert treatments["val_crop_size"] == treatments["interpolation"] == "honoured"
    assert (treatments["lr"], treatments["hedgehogs"]) == ("harmless", "unknown")
    assert "of the pixels equal on a photo" in ask_witness(built, built.spec)


def test_a_name_of_other_weights_is_refused(tmp_path: Path) -> None:
    path = trained(tmp_path, torchvision.models.efficientnet_b0(num_classes=4), model="efficientnet_b1")
    with pytest.raises(
        CheckpointError, match="model = 'efficientnet_b1'; the weights are those of efficient"
    ):
        built_from(path)
    assert built_from(path, ignore=("args:model",)).spec.variant == "efficientnet_b0"


@pytest.mark.parametrize(
    ("file", "name"),
    [("efficientnet_b0_rwightman-7f5810bc.pth", "efficientnet_b0"), ("vit_b_32-d86f8d99.pth", "vit_b_32")],
)
def test_torchvision_is_the_witness_of_its_published_weights(
    tmp_path: Path, perturb: Perturb, file: str, name: str
) -> None:
    model = perturb(torchvision.models.get_model(name).eval(), 3)
    torch.save(model.state_dict(), tmp_path / file)
    built = built_from(tmp_path / file)
    told = ask_witness(built, built.spec)
    assert told.startswith(f"torchvision {torchvision.__version__}: network within")
    assert "of the pixels equal on a photo" in told
    assert built.spec.recognised[1].startswith("Pre-processing is from torchvision's ")
    *_, last = built.module.parameters()
    last.data = last + last.abs().max()  # The checkpoint's own stays.
    with pytest.raises(ParityError, match="read this checkpoint differently"):
        ask_witness(built, built.spec)


@pytest.mark.parametrize(
    ("hints", "why"),
    [
        ({"features": True}, "torchvision's models do not return features"),
        ({"imgsz": (64, 96)}, "torchvision's ViTs take square images"),
    ],
)
def test_where_torchvision_has_no_such_model_there_is_no_witness(
    tmp_path: Path, hints: dict[str, Any], why: str
) -> None:
    torch.save(torchvision.models.vit_b_32().state_dict(), tmp_path / "w.pth")
    built = built_from(tmp_path / "w.pth", **hints)
    assert ask_witness(built, built.spec) == f"none: {why}"


def test_a_model_of_other_sizes_has_no_witness(tmp_path: Path) -> None:
    torch.save(VisionTransformer(**TINY).state_dict(), tmp_path / "w.pth")
    built = built_from(tmp_path / "w.pth")
    assert ask_witness(built, built.spec).startswith("none: torchvision has no named model")


def test_a_pickled_module_that_is_not_torchvisions_own_has_no_witness(tmp_path: Path) -> None:
    network = torchvision.models.efficientnet_b0(num_classes=4, norm_layer=partial(nn.BatchNorm2d, eps=0.01))
    torch.save(network.eval(), tmp_path / "whole.pth")
    built = built_from(tmp_path / "whole.pth")
    assert "eps of features.0.1 in the file" in ask_witness(built, built.spec)
    torch.save(torchvision.models.efficientnet_b0(num_classes=4).eval(), tmp_path / "usual.pth")
    built = built_from(tmp_path / "usual.pth")
    assert ask_witness(built, built.spec).startswith("torchvision ")
