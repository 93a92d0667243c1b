"""Classifiers of several layers, also within one another, on the networks of every origin that has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.heads.layers import read_layers
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError
from efficientnet_pytorch import EfficientNet
from torch import nn
from transformers import Dinov2Config, Dinov2ForImageClassification, Dinov2Model

Perturb = Callable[..., Any]
DINOV2 = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 16,
}


def torchvision_vit(head: Callable[[int], nn.Module]) -> nn.Module:
    model = torchvision.models.VisionTransformer(64, 16, 2, 2, 64, 96)
    model.heads = head(64)
    return model


def torchvision_efficientnet(head: Callable[[int], nn.Module]) -> nn.Module:
    model = torchvision.models.efficientnet_b0()
    model.classifier[1] = head(1280)
    return model


def lukemelas(head: Callable[[int], nn.Module]) -> nn.Module:
    model: Any = EfficientNet.from_name("efficientnet-b0", image_size=64)
    model._fc = head(1280)
    return model  # type: ignore[no-any-return]


def timm_efficientnet(head: Callable[[int], nn.Module]) -> nn.Module:
    model: Any = timm.create_model("tf_efficientnet_b0")
    model.classifier = head(1280)
    return model  # type: ignore[no-any-return]


def dinov2(head: Callable[[int], nn.Module]) -> nn.Module:
    model: Any = Dinov2ForImageClassification(Dinov2Config(**DINOV2))
    model.classifier = head(96)
    return model  # type: ignore[no-any-return]


NETWORKS = (torchvision_vit, torchvision_efficientnet, lukemelas, timm_efficientnet, dinov2)


def norm_and_linear(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width, eps=0.03), nn.Linear(width, 5))


def with_relu(width: int) -> nn.Module:
    return nn.Sequential(
        nn.BatchNorm1d(width, eps=0.02), nn.Dropout(), nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 5)
    )


def nested(width: int) -> nn.Module:
    hidden = nn.Sequential(nn.Linear(width, 8), nn.BatchNorm1d(8), nn.Tanh())
    return nn.Sequential(hidden, nn.Sequential(nn.Dropout(), nn.Linear(8, 5)))


def load(folder: Path, saved: Any, **hints: Any) -> BuiltModel:
    torch.save(saved, folder / "best.pth")
    return load_checkpoint(folder / "best.pth", Hints(imgsz=(64, 64), **hints)).built


def assert_same(built: BuiltModel, model: nn.Module) -> None:
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        found, expected = built.module(images), model(images)
    torch.testing.assert_close(found, getattr(expected, "logits", expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [norm_and_linear, with_relu, nested])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_classifier_of_a_pickled_network_is_built_as_it_is(
    network: Callable[..., nn.Module], head: Callable[[int], nn.Module], perturb: Perturb, tmp_path: Path
) -> None:
    """Its norms and activations are not those of the network."""
    model = perturb(network(head), 1).eval()
    assert_same(load(tmp_path, model), model)


@pytest.mark.parametrize("network", [torchvision_efficientnet, dinov2])
def test_layers_within_one_another_are_read_from_their_names(
    network: Callable[..., nn.Module], perturb: Perturb, tmp_path: Path
) -> None:
    model = perturb(network(nested), 1).eval()
    config = {"num_attention_heads": 4} if network is dinov2 else None
    place = "classifier.1" if network is torchvision_efficientnet else "classifier"
    with pytest.raises(CheckpointError, match=rf"stands before {place}\.1\.1 has no weights") as error:
        load(tmp_path, model.state_dict(), config=config)
    assert "--head-activation" in str(error.value.hint)
    assert_same(load(tmp_path, model.state_dict(), config=config, head_activation="tanh"), model)


def test_scores_at_the_end_of_layers_within_one_another_are_seen(perturb: Perturb, tmp_path: Path) -> None:
    inner = nn.Sequential(nn.Linear(8, 5), nn.Sigmoid())
    model = perturb(torchvision_efficientnet(lambda width: nn.Sequential(nn.Linear(width, 8), inner)), 1)
    built = load(tmp_path, model.eval())
    assert built.spec.output.activation == "sigmoid"
    inner[1] = nn.Identity()
    assert_same(built, model)


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        (["weight"], [-1]),
        (["1.weight"], [1]),
        (["layers.0.weight", "layers.3.weight"], [0, 3]),
        (["0.0.weight", "0.1.weight", "1.weight"], [0, 1, 3]),
        (["1.0.weight", "1.1.weight"], [1, 2]),
        (["0.0.0.weight", "0.1.0.weight"], [0, 2]),
    ],
)
def test_positions_have_a_gap_where_something_without_weights_may_be(
    names: list[str], positions: list[int]
) -> None:
    found = read_layers("head", {name: torch.ones(4, 4) for name in names})
    assert found is not None
    assert list(found.layers) == positions


@pytest.mark.parametrize("names", [["0.weight", "0.0.weight"], ["weight", "0.weight"], ["0.a.weight"]])
def test_names_that_are_not_those_of_layers_in_turn_are_not_read(names: list[str]) -> None:
    assert read_layers("head", {name: torch.ones(4, 4) for name in [*names, "1.weight"]}) is None


def test_a_classifier_on_what_dinov2_gives_takes_the_class_token(perturb: Perturb, tmp_path: Path) -> None:
    model, head = perturb(Dinov2Model(Dinov2Config(**DINOV2)), 1).eval(), nn.Linear(48, 5)
    saved = {
        **{f"backbone.{key}": value for key, value in model.state_dict().items()},
        **{f"head.{key}": value for key, value in head.state_dict().items()},
    }
    built = load(tmp_path, saved, config={"num_attention_heads": 4})
    assert "The classifier takes pooler_output, the class token." in built.spec.assumed
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = head(model(images).pooler_output)
        torch.testing.assert_close(built.module(images), expected, rtol=1e-4, atol=1e-5)
