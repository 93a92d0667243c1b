"""A checkpoint that lost a weight is refused, whichever it is, with the name of the weight in the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.shared.loading import load_strict
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError

TESTS = Path(__file__).parents[3]
State = dict[str, torch.Tensor]
LINEAR = {"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}


def hugging_face() -> State:
    config = transformers.ViTConfig(
        hidden_size=192, num_hidden_layers=3, num_attention_heads=3, intermediate_size=384, image_size=32
    )
    return transformers.ViTForImageClassification(config).state_dict()


def torchvision_vit() -> State:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=3, num_heads=3, hidden_dim=192, mlp_dim=384, num_classes=3
    ).state_dict()


def lukemelas() -> State:
    from efficientnet_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-b0", num_classes=3).state_dict()


def of_file(name: str) -> State:
    return dict(read_checkpoint(TESTS / name).tensors)


# How each is made; and keys without which nobody can tell what it was, or that are named in timm's words.
CHECKPOINTS: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "timm": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=3).state_dict(),
        {"cls_token"},
    ),
    "torchvision": (
        torchvision_vit,
        {
            "class_token",
            "encoder.pos_embedding",
            "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
        },
    ),
    "transformers": (hugging_face, {"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"}),
    "mmpretrain": (
        lambda: of_file("fixtures/mmpretrain_vit.pth"),
        {"backbone.cls_token", "backbone.pos_embed"},
    ),
    "EfficientNet": (
        lambda: timm.create_model("efficientnet_lite0", num_classes=3).state_dict(),
        set(),
    ),
    "EfficientNet of torchvision": (
        lambda: torchvision.models.efficientnet_b0(num_classes=3).state_dict(),
        {
            "features.0.0.weight",
            "features.1.0.block.0.0.weight",
            "features.1.0.block.2.0.weight",
            "features.2.1.block.1.0.weight",
            "features.8.0.weight",
        },
    ),
    "EfficientNet of lukemelas": (
        lukemelas,
        {"_conv_stem.weight", "_conv_head.weight"}
        | {f"_blocks.0._{layer}_conv.weight" for layer in ("depthwise", "project")}
        | {f"_blocks.1._{layer}_conv.weight" for layer in ("expand", "depthwise", "project")},
    ),
    "CrossFormer": (lambda: of_file("golden/crossformer/crossformer.pth"), set()),
}


@pytest.mark.parametrize("origin", CHECKPOINTS)
def test_every_lost_weight_is_named(origin: str, tmp_path: Path) -> None:
    make, unnamed = CHECKPOINTS[origin]
    weights, path = make(), tmp_path / "lost.pth"
    tried: set[str] = set()
    for key in weights:
        kind = re.sub(r"\d+", lambda number: "0" if number[0] == "0" else "1", key)
        if key.endswith("num_batches_tracked") or kind in tried:
            continue
        tried.add(kind)
        torch.save({name: tensor for name, tensor in weights.items() if name != key}, path)
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(path, Hints())
        # The first convolution of several is given by the name of their list.
        listed = key.removesuffix(".0.weight")
        assert key in unnamed or listed in str(error.value), f"{key}: {error.value}"


def test_a_crowd_of_foreign_keys_is_told_at_once() -> None:
    """The search for what is missing must not grow with a hostile file."""
    numbers = ".1" * 2000
    tensors = {f"{n}{numbers}.{n}.bias": torch.zeros(1) for n in range(9000)}
    with pytest.raises(CheckpointError, match=r"missing, by what is there: 0\.1") as error:
        load_strict(torch.nn.Linear(1, 1, device="meta"), {**tensors, **LINEAR}, source="crowd.pth")
    assert " and 8995 more" in str(error.value)
