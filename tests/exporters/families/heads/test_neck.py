"""A neck between network and classifier: refused with a hint that can be followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError
from timm.models.vision_transformer import VisionTransformer
from torch import nn


class Model(nn.Module):
    """A ViT, a neck and a classifier."""

    def __init__(self, neck: nn.Module, head: nn.Module) -> None:
        super().__init__()
        sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 64, "depth": 4, "num_heads": 1}
        self.backbone = VisionTransformer(**sizes, num_classes=0)
        self.neck = neck
        self.head = head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.neck(self.backbone(images)).relu())  # type: ignore[no-any-return]


NECKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(64, 32),
    "with a norm": lambda: nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32)),
    "of the same width": lambda: nn.Linear(64, 64),
}


def load(tmp_path: Path, saved: Any, **hints: Any) -> BuiltModel:
    torch.save(saved, tmp_path / "trained.pth")
    return load_checkpoint(tmp_path / "trained.pth", Hints(**hints)).built


@pytest.mark.parametrize("form", NECKS)
def test_the_hint_leads_to_the_answers_of_the_training_code(tmp_path: Path, form: str) -> None:
    torch.manual_seed(0)
    neck = NECKS[form]()
    model = Model(neck, nn.Linear(64 if form == "of the same width" else 32, 5)).eval()
    for hints in ({}, {"head": "head"}) if form != "of the same width" else ({},):
        with pytest.raises(CheckpointError, match="head takes what neck gives") as error:
            load(tmp_path, model.state_dict(), **hints)
        assert "head = Sequential(*neck, ACTIVATION, head)" in str(error.value.hint)
    steps = list(neck) if isinstance(neck, nn.Sequential) else [neck]
    joined = Model(nn.Identity(), nn.Sequential(*steps, nn.ReLU(), model.head)).eval()
    joined.backbone = model.backbone
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    whole = nn.Sequential(joined.backbone, joined.head)
    with torch.inference_mode():
        expected = model(images)
        for saved, hints in ((joined.state_dict(), {"head_activation": "relu"}), (whole, {})):
            found = load(tmp_path, saved, **hints).module(images)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert load(tmp_path, model.state_dict(), features=True).spec.task == "features"
