"""The checkpoint in torch: every mode gives the same answers, and says what it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.torch_runner import TORCH_RUNTIMES, TorchMode, open_reference
from deploykit_runtimes.errors import OptionError, RuntimeUnavailableError
from deploykit_runtimes.open import open_runner
from torch import nn

from deploykit.benchmark.options import BenchOptions
from deploykit.benchmark.run import bench, feeds_for
from deploykit.benchmark.target import find_checkpoint


@pytest.fixture
def files(tmp_path: Path, perturb: Callable[..., nn.Module]) -> tuple[Path, Path]:
    """A checkpoint, and the model exported from it."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(img_size=32, patch_size=16, embed_dim=64, depth=1, num_heads=1, num_classes=7)
    path = tmp_path / "vit.pth"
    torch.save(perturb(vit, 1).state_dict(), path)
    return path, export(path, ExportOptions(dynamic=("batch",))).path


@pytest.mark.parametrize("name", [name for name in TORCH_RUNTIMES if "cuda" not in name])
def test_each_mode_gives_the_answers_of_the_file(
    files: tuple[Path, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, model = files
    # Traced and guarded for real, but without the C++ compiler, which takes a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    with open_runner(model) as runner:
        feeds = feeds_for(runner.spec, 2)
        expected = runner.infer(feeds)["logits"]
        spec = runner.spec
    with open_reference(checkpoint, spec, mode=TORCH_RUNTIMES[name]) as reference:
        found = reference.infer(feeds)["logits"]
        assert reference.placement().engine == f"torch {TORCH_RUNTIMES[name].variant}"
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_torch_runs_on_the_gpu_that_was_named(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TorchMode(device="cuda", gpu=1).place == "cuda:1"
    assert TorchMode(gpu=1).place == "cpu"
    checkpoint, model = files
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        open_runner(model) as runner,
        pytest.raises(RuntimeUnavailableError, match="GPU 1 was asked for, torch finds 1"),
    ):
        open_reference(checkpoint, runner.spec, mode=TorchMode(device="cuda", gpu=1))


def test_no_silent_fall_back_from_cuda(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, model = files
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with open_runner(model) as runner, pytest.raises(RuntimeUnavailableError, match="finds no GPU"):
        open_reference(checkpoint, runner.spec, mode=TorchMode(device="cuda"))


def test_the_checkpoint_is_found_beside_the_model_by_its_hash(files: tuple[Path, Path]) -> None:
    checkpoint, model = files
    with open_runner(model) as runner:
        spec = runner.spec
    assert find_checkpoint(model, spec) == checkpoint
    checkpoint.write_bytes(b"another file")
    with pytest.raises(OptionError, match=r"vit\.pth") as caught:
        find_checkpoint(model, spec)
    assert "--reference" in caught.value.hint


def test_torch_is_one_row_of_a_benchmark(files: tuple[Path, Path]) -> None:
    checkpoint, model = files
    options = BenchOptions(runtimes=("ort-cpu", "torch"), reference=str(checkpoint), runs=2, warmup=1)
    rows = bench(model, options).rows
    assert [row.placement.engine for row in rows] == ["onnxruntime", "torch eager"]


def test_another_checkpoint_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    from timm.models.vision_transformer import VisionTransformer

    _, model = files
    other = VisionTransformer(img_size=32, patch_size=16, embed_dim=64, depth=1, num_heads=1, num_classes=5)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with open_runner(model) as runner, pytest.raises(OptionError, match="with 5 classes"):
        open_reference(tmp_path / "other.pth", runner.spec)
