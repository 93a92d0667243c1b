"""Classifiers beside a network whose vector is not the one that the network gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError
from timm.models.vision_transformer import VisionTransformer
from torch import nn

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit": (lambda: VisionTransformer(32, 16, embed_dim=64, depth=6, num_heads=1, num_classes=0), 64),
    "efficientnet": (lambda: timm.create_model("efficientnet_b0", num_classes=0), 1280),
}


def fastai_head(width: int) -> nn.Module:
    """As ``create_head`` makes it: two poolings side by side, which have no weights, and flattening."""
    return nn.Sequential(
        nn.Identity(),
        nn.Flatten(),
        nn.BatchNorm1d(2 * width),
        nn.Dropout(0.25),
        nn.Linear(2 * width, 512, bias=False),
        nn.ReLU(),
        nn.BatchNorm1d(512),
        nn.Dropout(),
        nn.Linear(512, 3, bias=False),
    )


def load(tmp_path: Path, model: nn.Module, **hints: object) -> BuiltModel:
    torch.save({"model": model.state_dict(), "opt": {}}, tmp_path / "m.pth")
    return load_checkpoint(tmp_path / "m.pth", Hints(**hints)).built  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("own", [False, True])
def test_fastais_head_is_not_left_out(kind: str, own: bool, tmp_path: Path) -> None:
    make, width = NETWORKS[kind]
    body = nn.ModuleDict({"model": make()}) if own else make()
    model = nn.Sequential(body, fastai_head(width))
    with pytest.raises(
        CheckpointError, match=f"takes {2 * width} numbers; the network gives {width}"
    ) as error:
        load(tmp_path, model)
    assert "two poolings side by side" in str(error.value)
    assert "--features" in str(error.value.hint)
    assert load(tmp_path, model, features=True).spec.task == "features"


def test_other_widths_are_named_and_can_be_ignored(tmp_path: Path) -> None:
    model = nn.ModuleDict({"net": NETWORKS["vit"][0](), "text_projection": nn.Sequential(nn.Linear(40, 8))})
    with pytest.raises(CheckpointError, match="does not say what the training code does") as error:
        load(tmp_path, model)
    ignored = str(error.value.hint).rpartition("--ignore ")[2]
    assert load(tmp_path, model, ignore=(ignored,)).spec.task == "features"


def test_a_network_with_a_classifier_leaves_others_to_the_training(tmp_path: Path) -> None:
    net = VisionTransformer(32, 16, embed_dim=64, depth=2, num_heads=1, num_classes=5)
    model = nn.ModuleDict({"net": net, "text_projection": nn.Linear(40, 8)})
    assert load(tmp_path, model).spec.num_classes == 5
