"""What ends a pickled classifier, and classes of one's own inside pickled networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import efficientnet_pytorch
import pytest
import timm
import torch
import torchvision
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError
from timm.models.vision_transformer import VisionTransformer
from torch import nn

SIZES = {"img_size": 32, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 1, "num_classes": 5}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, int, int]] = {
    "ViT of timm": (lambda: VisionTransformer(**SIZES), "head", 64, 32),
    "ViT of torchvision": (
        lambda: torchvision.models.VisionTransformer(32, 16, 2, 1, 64, 96, num_classes=5),
        "heads",
        64,
        32,
    ),
    "EfficientNet of timm": (
        lambda: timm.create_model("efficientnet_b0", num_classes=5),
        "classifier",
        1280,
        64,
    ),
    "EfficientNet of torchvision": (
        lambda: torchvision.models.efficientnet_b0(num_classes=5),
        "classifier",
        1280,
        64,
    ),
    "EfficientNet-PyTorch": (
        lambda: efficientnet_pytorch.EfficientNet.from_name("efficientnet-b0", num_classes=5, image_size=64),
        "_fc",
        1280,
        64,
    ),
}
ENDS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "softmax": (lambda: nn.Softmax(dim=1), "softmax"),
    "last axis": (lambda: nn.Softmax(dim=-1), "softmax"),
    "log softmax": (lambda: nn.LogSoftmax(dim=1), "softmax"),
    "sigmoid": (nn.Sigmoid, "sigmoid"),
}


class Mine(nn.Linear):
    """A layer whose code does more than that of its library."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.normalize(features))


def perturbed(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def with_head(kind: str, *steps: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    make, name, _, _ = NETWORKS[kind]
    model = make()
    setattr(model, name, nn.Sequential(*steps))
    return perturbed(model)


def load(tmp_path: Path, saved: Any, **hints: Any) -> BuiltModel:
    torch.save(saved, tmp_path / "trained.pth")
    return load_checkpoint(tmp_path / "trained.pth", Hints(**hints)).built


def scores(built: BuiltModel, images: torch.Tensor) -> torch.Tensor:
    """The answer as the spec says it is made of the logits."""
    logits = built.module(images)
    return logits.sigmoid() if built.spec.output.activation == "sigmoid" else logits.softmax(1)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("end", ENDS)
def test_scores_are_made_once(tmp_path: Path, kind: str, end: str) -> None:
    make, activation = ENDS[end]
    width, side = NETWORKS[kind][2:]
    model = with_head(kind, nn.Dropout(0.1), nn.Linear(width, 5), make())
    built = load(tmp_path, model)
    assert built.spec.output.activation == activation
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(images)
        expected = expected.exp() if end == "log softmax" else expected
        torch.testing.assert_close(scores(built, images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    "end", [nn.Tanh, nn.Softplus, lambda: nn.Softmax(dim=0), nn.ReLU], ids=["tanh", "+", "0", "relu"]
)
def test_other_ends_are_refused(tmp_path: Path, kind: str, end: Callable[[], nn.Module]) -> None:
    model = with_head(kind, nn.Linear(NETWORKS[kind][2], 5), end())
    with pytest.raises(CheckpointError, match="Softmax, LogSoftmax, Sigmoid at its end"):
        load(tmp_path, model)


@pytest.mark.parametrize("kind", NETWORKS)
def test_of_a_state_dict_it_is_said_that_nothing_is_taken_to_stand_there(tmp_path: Path, kind: str) -> None:
    model = with_head(kind, nn.Linear(NETWORKS[kind][2], 5), nn.Sigmoid())
    spec = load(tmp_path, model.state_dict()).spec
    assert any("""--config '{"scores": "sigmoid"}' says so""" in line for line in spec.assumed)
    said = load(tmp_path, model.state_dict(), config={"scores": "sigmoid"})
    assert said.spec.output.activation == "sigmoid"


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_layer_of_ones_own_in_the_place_of_the_classifier_is_refused(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    make, name, width, _ = NETWORKS[kind]
    model = make()
    place = {"heads": "heads.head", "classifier": "classifier.1"}.get(name, name)
    if kind == "EfficientNet of timm":
        place = name
    parent, _, last = place.rpartition(".")
    setattr(model.get_submodule(parent), last, Mine(width, 5))
    with pytest.raises(CheckpointError, match=r"is a \w+\.Mine, a custom class|is a .*Mine") as error:
        load(tmp_path, perturbed(model))
    ignored = str(error.value.hint).partition("--ignore ")[2].partition(" ")[0].rstrip(".")
    assert load(tmp_path, model, ignore=(ignored,)).spec.num_classes == 5


INNER = {
    "ViT of timm": ("blocks.1.mlp.fc2", 256, 64),
    "ViT of torchvision": ("encoder.layers.encoder_layer_1.mlp.3", 96, 64),
}


@pytest.mark.parametrize("kind", INNER)
def test_a_layer_of_ones_own_inside_of_the_network_is_refused(tmp_path: Path, kind: str) -> None:
    model = NETWORKS[kind][0]()
    path, width, rows = INNER[kind]
    parent, _, last = path.rpartition(".")
    setattr(model.get_submodule(parent), last, Mine(width, rows))
    with pytest.raises(CheckpointError, match=rf"{path} is (a .*)?Mine"):
        load(tmp_path, perturbed(model))


class Wrapper(nn.Module):
    """A network and what training code put around it."""

    def __init__(self, head: nn.Module, **more: nn.Module) -> None:
        super().__init__()
        self.backbone = VisionTransformer(**{**SIZES, "num_classes": 0})
        self.head = head
        for name, module in more.items():
            self.add_module(name, module)


def test_a_sigmoid_beside_the_network_is_not_passed_over(tmp_path: Path) -> None:
    model = perturbed(Wrapper(nn.Linear(64, 5), act=nn.Sigmoid()))
    with pytest.raises(CheckpointError, match="has act, a Sigmoid, beside the network") as error:
        load(tmp_path, model)
    assert """--config '{"scores": "sigmoid"}'""" in str(error.value.hint)
    assert load(tmp_path, model, config={"scores": "sigmoid"}).spec.output.activation == "sigmoid"
    assert load(tmp_path, model, ignore=("act",)).spec.output.activation == "softmax"


def test_a_classifier_of_cosines_is_refused_by_its_class_or_its_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the classifier head is a .*Mine"):
        load(tmp_path, perturbed(Wrapper(Mine(64, 5))))
    saved = {
        f"backbone.{key}": one
        for key, one in VisionTransformer(**{**SIZES, "num_classes": 0}).state_dict().items()
    }
    for name in ("arcface", "cosine_head", "prototypes.layer"):
        with pytest.raises(
            CheckpointError, match=f"{name} has no bias and the name of a classifier"
        ) as error:
            load(tmp_path, {**saved, f"{name}.weight": torch.rand(5, 64)})
        assert f"--ignore {name}" in str(error.value.hint)
        assert (
            load(tmp_path, {**saved, f"{name}.weight": torch.rand(5, 64)}, ignore=(name,)).spec.num_classes
            == 5
        )
    told = load(tmp_path, {**saved, "head.weight": torch.rand(5, 64)}).spec.assumed
    assert any("cosines have the same weights" in line for line in told)
