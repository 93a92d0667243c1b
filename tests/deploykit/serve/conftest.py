"""Real models that the tests of the server share."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, perturb: Callable[..., object]) -> Path:
    """A tiny ViT of three classes, batch free, 32 x 32 pixels."""
    return _export(tmp_path_factory.mktemp("classifier"), perturb, seed=0)


@pytest.fixture(scope="session")
def other_classifier(tmp_path_factory: pytest.TempPathFactory, perturb: Callable[..., object]) -> Path:
    """The same architecture with other weights."""
    return _export(tmp_path_factory.mktemp("other"), perturb, seed=1)


def _export(folder: Path, perturb: Callable[..., object], *, seed: int) -> Path:
    import timm
    import torch
    from deploykit_exporters.export import export
    from deploykit_exporters.options import ExportOptions

    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)
    torch.save(perturb(model, seed).state_dict(), folder / "tiny.pth")  # type: ignore[attr-defined]
    options = ExportOptions(dynamic=("batch",), labels=("cat", "dog", "bird"))
    return export(folder / "tiny.pth", options).path


@pytest.fixture(scope="session")
def picture(photos: dict[str, np.ndarray]) -> bytes:
    """A photo as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(photos["cat"]).resize((96, 64)).save(file, "PNG")
    return file.getvalue()
