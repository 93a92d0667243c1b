"""What the tests of the facade and of its commands share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

import deploykit


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


@pytest.fixture(scope="session")
def small_data(fixtures: Path) -> ModuleType:
    """The script that writes the data sets."""
    spec = importlib.util.spec_from_file_location("small_data", fixtures / "small_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their types
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def digits(small_data: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 60 digits."""
    folder: Path = small_data.write_digits(tmp_path_factory.mktemp("digits"), limit=60)
    return folder / "val"


@pytest.fixture(scope="session")
def scenes(small_data: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The data.yaml of a task, with 16 pictures."""
    written: dict[str, Path] = {}

    def write(task: str) -> Path:
        if task not in written:
            folder = tmp_path_factory.mktemp(task)
            written[task] = small_data.write_scenes(folder, task, sizes={"train": 1, "val": 16})
        return written[task]

    return write


@pytest.fixture(scope="session")
def vit(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of digits as a model file."""
    target = tmp_path_factory.mktemp("vit") / "vit.onnx"
    names = [str(number) for number in range(10)]
    return deploykit.export(
        fixtures / "trained" / "vit.pth.tar", output=target, dynamic="batch", labels=names
    ).path


@pytest.fixture(scope="session")
def detector(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of digits as a model file."""
    target = tmp_path_factory.mktemp("detect") / "detect.onnx"
    return deploykit.export(fixtures / "trained" / "detect.pt", output=target).path
