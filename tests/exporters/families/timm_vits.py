"""Small ViTs of timm, and their checkpoints, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.vit.family import FAMILY
from timm.models.vision_transformer import VisionTransformer
from torch import nn

TINY = {"img_size": 64, "patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 7}


def tiny(seed: int = 0, kind: Any = VisionTransformer, **settings: Any) -> Any:
    torch.manual_seed(seed)
    model = kind(**{**TINY, "dynamic_img_size": True, **settings}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def as_checkpoint(model: nn.Module, name: str = "weights.pth", **meta: Any) -> Checkpoint:
    tensors = model.state_dict()
    return Checkpoint(path=Path(name), sha256="0" * 64, container="torch", tensors=tensors, meta=meta)


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = FAMILY.match(checkpoint)
    assert match is not None
    assert (match.family, match.origin) == ("vit", "timm")
    return FAMILY.build(checkpoint, match, Hints(**{"config": {"num_heads": 3}, **hints}))


def assert_equal(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def assert_computes(built: BuiltModel, model: Callable[[torch.Tensor], torch.Tensor], *sizes: Any) -> None:
    """Both forms of the built model give the training library's output at every [N, H, W]."""
    assert built.exportable is not None
    for batch, height, width in sizes:
        images = torch.randn(batch, built.spec.input.channels, height, width)
        with torch.inference_mode():
            expected = model(images)
            assert_equal(built.module(images), expected)
            assert_equal(built.exportable(images), expected)
            if built.fixed is not None:
                assert_equal(built.fixed(height, width)(images), expected)
