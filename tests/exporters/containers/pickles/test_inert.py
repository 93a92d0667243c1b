"""Looking into the trees of pickled modules."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.containers.pickles.inert import (
    InertObject,
    children,
    class_path,
    inert_class,
    is_module,
    state_dict_of,
    to_plain,
    walk,
)
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError
from torch import nn


@pytest.fixture
def yolov5_module() -> Iterator[type[nn.Module]]:
    """``models.yolo.Model`` of a repository that is not installed: there while it is saved only."""
    package, module = types.ModuleType("models"), types.ModuleType("models.yolo")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.yaml = {"nc": 2, "depth_multiple": 0.33}
            self.names = ["cat", "dog"]
            self.stride = torch.tensor([8.0, 16.0, 32.0])
            self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3))

    Model.__module__, Model.__qualname__ = "models.yolo", "Model"
    module.Model = Model  # type: ignore[attr-defined]
    sys.modules |= {"models": package, "models.yolo": module}
    yield Model
    sys.modules.pop("models", None), sys.modules.pop("models.yolo", None)


def test_a_module_whose_code_is_gone(yolov5_module: type[nn.Module], tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    model = yolov5_module().half()
    torch.save({"epoch": -1, "ema": None, "model": model, "optimizer": None, "date": "2023"}, path)
    expected = model.state_dict()
    del sys.modules["models.yolo"], sys.modules["models"]

    checkpoint = read_checkpoint(path)
    tree = checkpoint.module
    assert class_path(tree) == "models.yolo.Model"
    assert is_module(tree)
    assert (tree.names, tree.yaml["nc"], tree.stride.tolist()) == (["cat", "dog"], 2, [8.0, 16.0, 32.0])
    assert [(name, class_path(module)) for name, module in walk(tree)] == [
        ("", "models.yolo.Model"),
        ("model", "torch.nn.modules.container.Sequential"),
        ("model.0", "torch.nn.modules.conv.Conv2d"),
        ("model.1", "torch.nn.modules.batchnorm.BatchNorm2d"),
    ]
    assert list(children(tree.model)) == ["0", "1"]
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.tensors[name], expected[name]) for name in expected)
    assert checkpoint.tensors["model.0.weight"].dtype == torch.float16
    assert checkpoint.weights_key == "model"
    assert checkpoint.meta["date"] == "2023"


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_whole_timm_models(name: str, tmp_path: Path) -> None:
    model = timm.create_model(name, num_classes=3)
    torch.save(model, tmp_path / "model.pth")
    checkpoint = read_checkpoint(tmp_path / "model.pth")
    expected = model.state_dict()
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.tensors[key], expected[key]) for key in expected)
    assert [key for key, _ in walk(checkpoint.module)] == [
        key for key, _ in model.named_modules(remove_duplicate=False)
    ]


def _module(**modules: Any) -> Any:
    module = inert_class("nets.Block")()
    vars(module).update(_parameters={}, _buffers={}, _modules=modules)
    return module


def test_trees_without_end_are_refused() -> None:
    loop = _module()
    loop._modules["child"] = loop
    with pytest.raises(CheckpointError, match="no end"):
        list(walk(loop))
    deep = _module()
    for _ in range(1000):
        deep = _module(child=deep)
    with pytest.raises(CheckpointError, match="no end"):
        state_dict_of(deep)
    wide = _module()
    for _ in range(30):
        wide = _module(a=wide, b=wide)
    with pytest.raises(CheckpointError, match="no end"):
        state_dict_of(wide)


def test_what_is_no_module_has_no_children() -> None:
    others: tuple[object, ...] = (None, 3, {}, inert_class("a.B")())
    for obj in others:
        assert not is_module(obj)
        assert children(obj) == {}
        assert list(walk(obj)) == []
    assert class_path(nn.Linear) == "torch.nn.modules.linear.Linear" == class_path(nn.Linear(1, 1))


def test_a_tree_with_nonsense_inside_is_read() -> None:
    module = _module(text="no module", child=_module())
    vars(module).update(
        _parameters={"weight": torch.ones(1), "text": "no tensor", 3: torch.zeros(1)},
        _buffers={"mean": torch.zeros(1)},
        _non_persistent_buffers_set=inert_class("builtins.set")(),
    )
    assert list(children(module)) == ["child"]
    assert list(state_dict_of(module)) == ["weight", "3", "mean"]


def test_to_plain_is_json() -> None:
    namespace: InertObject = inert_class("argparse.Namespace")()
    vars(namespace).update(model="vit", mean=(0.5, 0.5), weight=torch.zeros(2, 3), path=Path("a/b"))
    value = {
        "args": namespace,
        1: np.float32(0.5),
        "array": np.arange(3),
        "large": np.zeros((100, 100)),
        "time": np.datetime64("2024-01-02"),
        "set": {3},
        "bytes": b"caf\xc3\xa9",
        "dtype": torch.float16,
        "class": inert_class("nets.Net"),
        "bare": inert_class("nets.Thing")(),
        "version": inert_class("packaging.Version")("1.2"),
        "complex": 1j,
    }
    assert json.loads(json.dumps(to_plain(value))) == {
        "args": {"model": "vit", "mean": [0.5, 0.5], "weight": "tensor float32 [2, 3]", "path": "a/b"},
        "1": 0.5,
        "array": [0, 1, 2],
        "large": "array float64 [100, 100]",
        "time": "2024-01-02",
        "set": [3],
        "bytes": "café",
        "dtype": "torch.float16",
        "class": "nets.Net",
        "bare": "nets.Thing",
        "version": "1.2",
        "complex": "1j",
    }


def test_to_plain_is_bounded() -> None:
    laughs: list[Any] = []
    for _ in range(40):
        laughs = [laughs, laughs]
    assert len(json.dumps(to_plain(laughs, max_items=1000))) < 20_000
