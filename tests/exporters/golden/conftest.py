"""A small ViT, and exports with its golden answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from deploykit_exporters.export import ExportResult, export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.record import record
from timm.models.vision_transformer import VisionTransformer
from torch import nn

if TYPE_CHECKING:
    from recordings import Make, Perturb, Prove

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def vit(perturb: Perturb) -> Make:
    from recordings import NAMES, SIDE

    def make(**settings: Any) -> nn.Module:
        torch.manual_seed(0)
        tiny = {"img_size": SIDE, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 1}
        return perturb(VisionTransformer(**{**tiny, "num_classes": len(NAMES), **settings}))

    return make


@pytest.fixture
def prove(tmp_path: Path) -> Prove:
    """Save a model or what a checkpoint holds, record another model, and export with its answers."""
    from recordings import SIDE

    def run(
        saved: Any, recorded: nn.Module, options: dict[str, Any] | None = None, **how: Any
    ) -> ExportResult:
        path = tmp_path / "model.pth"
        torch.save(saved.state_dict() if isinstance(saved, nn.Module) else saved, path)
        golden = record(
            recorded, tmp_path / "golden.npz", **({} if "transform" in how else {"size": SIDE}), **how
        )
        return export(path, ExportOptions(**{"golden": golden, **(options or {})}))

    return run
