"""Networks and files of training code for the tests of what is beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise


def vit(**changes: Any) -> torch.nn.Module:
    options = {"img_size": 64, "embed_dim": 128, "depth": 2, "num_heads": 2, "num_classes": 5}
    return timm.create_model("vit_small_patch16_224", **{**options, **changes})


@cache
def networks() -> dict[str, torch.nn.Module]:
    """Made once; a test that changes one changes a copy."""
    torch.manual_seed(0)
    return {
        "vit": vit(),
        "efficientnet": torchvision.models.efficientnet_b0(num_classes=5),
        "timm efficientnet": timm.create_model("efficientnet_b0", num_classes=5),
    }


def built_with(model: torch.nn.Module, meta: Mapping[str, Any], folder: Path, **hints: Any) -> BuiltModel:
    torch.save({"state_dict": model.state_dict(), **meta}, folder / "mine.ckpt")
    checkpoint = read_checkpoint(folder / "mine.ckpt")
    return built_by(checkpoint, **hints)


def built_by(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    family, match = recognise(checkpoint, Hints(**hints))
    return family.build(checkpoint, match, Hints(**hints))
