"""What the tests of the facade and of its commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, perturb: Callable[..., nn.Module]) -> Path:
    """A tiny ViT written by timm, with three classes."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)
    path = tmp_path_factory.mktemp("checkpoint") / "vit.pth"
    torch.save(perturb(model).state_dict(), path)
    return path
