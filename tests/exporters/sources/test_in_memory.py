"""Modules and weights in memory are read as their files, and stay as they are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.export import export
from deploykit_exporters.families.base import Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.precheck import output_path, precheck
from deploykit_exporters.sources.in_memory import is_in_memory, module_copy, read_in_memory, source_name
from deploykit_exporters.verify import verify
from deploykit_runtimes.errors import CheckpointError, DeploykitError, OptionError
from torch import nn


def timm_vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)


def torchvision_efficientnet() -> nn.Module:
    import torchvision

    return torchvision.models.efficientnet_b0(num_classes=3)


def transformers_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    names = {0: "ant", 1: "bee", 2: "crow"}
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return ViTForImageClassification(ViTConfig(image_size=32, id2label=names, **sizes))


def ultralytics_net() -> nn.Module:
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel("yolo11n.yaml", nc=3, verbose=False)


FAMILIES = [timm_vit, torchvision_efficientnet, transformers_vit, ultralytics_net]


@pytest.fixture
def vit(perturb: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return perturb(timm_vit())


@pytest.mark.parametrize("make", FAMILIES)
def test_a_module_becomes_what_its_file_becomes(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = make()
    torch.save(module, tmp_path / "model.pt")
    theirs = load_checkpoint(tmp_path / "model.pt", Hints())
    ours = load_checkpoint(module, Hints())
    named = {"source": "", "source_sha256": ""}
    assert replace(ours.built.spec, **named) == replace(theirs.built.spec, **named)
    assert ours.built.settings == theirs.built.settings
    for name, tensor in theirs.built.module.state_dict().items():
        assert torch.equal(tensor, ours.built.module.state_dict()[name]), name
    assert ours.checkpoint.path == Path(f"{type(module).__name__} in memory")
    assert ours.checkpoint.notes[0] == "Read from memory, not from a file."


def state_of(module: nn.Module) -> list[Any]:
    """All that reading could touch: weights by address and content, modes, hooks, gradients."""
    found: list[Any] = []
    for name, each in module.named_modules():
        hooks = [id(hook) for hook in each._forward_hooks.values()]
        found.append((name, id(each), each.training, hooks, sorted(each.__dict__)))
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        grad = None if tensor.grad is None else (tensor.grad.data_ptr(), tensor.grad.clone().tolist())
        found.append((name, id(tensor), tensor.data_ptr(), tensor._version, tensor.requires_grad))
        found.append((tensor.device, tensor.dtype, tensor.detach().clone().tolist(), grad))
    return found


def test_a_module_is_left_as_it_is(vit: nn.Module, tmp_path: Path) -> None:
    vit.train()
    vit.blocks[0].eval()
    vit.blocks[0].register_forward_hook(lambda *_: pytest.fail("the hook was called"))
    next(vit.parameters()).requires_grad_(False)
    vit.head.weight.grad = torch.ones_like(vit.head.weight)
    before = state_of(vit)
    result = export(vit, ExportOptions(output=tmp_path / "vit.onnx", dynamic=("batch",)))
    verify(vit, tmp_path / "vit.onnx")
    assert state_of(vit) == before
    assert any("Forward hooks on 1 of its layers" in note for note in result.notes)


def test_the_record_says_where_it_came_from(vit: nn.Module, tmp_path: Path) -> None:
    result = export(vit, ExportOptions(output=tmp_path / "vit.onnx"))
    assert result.spec.source == "VisionTransformer in memory"
    assert result.spec.parity is not None
    assert "its own forward() within" in result.spec.parity.witness
    assert verify(vit, tmp_path / "vit.onnx").checkpoint == "VisionTransformer in memory"
    assert "VisionTransformer in memory" in repr(verify(vit, tmp_path / "vit.onnx"))


def test_weights_and_dicts_with_them(vit: nn.Module) -> None:
    weights = vit.state_dict()
    for source in (weights, dict(weights), {"epoch": 3, "state_dict": weights}, {"model": vit}):
        loaded = load_checkpoint(source, Hints())
        assert loaded.built.spec.num_classes == 3
        assert loaded.checkpoint.path == Path("weights in memory")
        assert torch.equal(loaded.checkpoint.tensors["head.weight"], vit.head.weight)
    several = {"ema": weights, "model": {name: tensor + 1 for name, tensor in weights.items()}}
    one = load_checkpoint(several, Hints(weights="model")).checkpoint
    assert torch.equal(one.tensors["head.bias"], vit.head.bias + 1)


def test_wrappers_are_looked_through(vit: nn.Module, tmp_path: Path) -> None:
    from ultralytics import YOLO

    for source in (torch.compile(vit), nn.DataParallel(vit), nn.DataParallel(torch.compile(vit))):
        assert source_name(source) == "VisionTransformer in memory"
        assert load_checkpoint(source, Hints()).built.spec.num_classes == 3
    yolo = YOLO("yolo11n.yaml", verbose=False)
    assert load_checkpoint(yolo, Hints()).built.spec.family == "yolo"
    (tmp_path / "other.onnx").write_bytes(b"")
    yolo = YOLO(tmp_path / "other.onnx", task="detect")
    with pytest.raises(CheckpointError, match=r"was opened from .*other\.onnx, which is not a network"):
        read_in_memory(yolo)


def test_what_another_process_could_not_import_or_unpickle(vit: nn.Module) -> None:
    """Neither the class of a notebook nor a lock in it is needed to read layers and weights."""

    class Local(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = vit
            self.lock = threading.Lock()
            self.act = lambda x: x
            self.numbers = (number for number in range(3))

    with_them = load_checkpoint(Local(), Hints())
    assert torch.equal(with_them.checkpoint.tensors["model.head.weight"], vit.head.weight)


def test_a_replaced_forward_is_told(vit: nn.Module) -> None:
    vit.blocks[0].forward = lambda x: x
    notes = read_in_memory(vit).notes
    assert "On 1 of its layers forward() was replaced, and the original is exported." in notes


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({}, "found none"),
        ({"a": 1}, "found none"),
        (OrderedDict(), "found none"),
        (nn.Linear(3, 3), "Linear in memory: wanted crossformer or efficientnet"),
        (nn.ReLU(), "ReLU in memory has no weights at all"),
        (timm.create_model("resnet18"), "ResNet in memory: this is a ResNet"),
        (torch.optim.SGD([nn.Parameter(torch.zeros(3))], 0.1), "only the state of an optimiser"),
        (nn.LazyLinear(3), "has no weights yet: weight is lazy"),
        (nn.Linear(3, 3, device="meta"), "weight is on the meta device"),
        ({"state_dict": {"a.weight": torch.zeros(9).to_sparse()}}, "weights in memory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_none_of_the_families(source: object, told: str, tmp_path: Path) -> None:
    with pytest.raises(DeploykitError, match=told) as caught:
        export(source, ExportOptions(output=tmp_path / "model.onnx"))
    assert len(str(caught.value)) < 700
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", [None, 3, b"PK", ["best.pt"], torch.zeros(3), nn.Linear, ""])
def test_what_is_not_in_memory(source: object) -> None:
    assert not is_in_memory(source)
    with pytest.raises(OptionError, match="as a path, a name or a module"):
        precheck(source, ExportOptions())


def test_where_it_is_written(vit: nn.Module) -> None:
    for source, name in (
        (vit, "VisionTransformer"),
        (torch.compile(vit), "VisionTransformer"),
        ({}, "model"),
    ):
        assert output_path(source, ExportOptions()) == Path(f"{name}.onnx")


def test_nothing_is_left_on_the_disk(vit: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    checkpoint = read_in_memory(vit)
    assert not list(tmp_path.iterdir())
    assert torch.equal(checkpoint.tensors["head.weight"], vit.head.weight)  # which was read of it


def test_a_copy_is_in_eval_mode_on_the_cpu(vit: nn.Module) -> None:
    vit.train().half()
    copy = module_copy(torch.compile(vit))
    assert copy is not None
    assert copy is not vit
    assert not any(each.training for each in copy.modules())
    assert {parameter.dtype for parameter in copy.parameters()} == {torch.float32}
    assert vit.training
    assert module_copy(vit.state_dict()) is None
