"""Hugging Face folders, as transformers and timm write them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError
from safetensors.torch import save_file


@pytest.fixture(scope="module")
def vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    return ViTForImageClassification(config)


@pytest.mark.parametrize("shard_size", ["10MB", "8KB"])
def test_transformers_folders(shard_size: str, vit: Any, tmp_path: Path) -> None:
    vit.save_pretrained(tmp_path, max_shard_size=shard_size)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.container == "huggingface"
    assert checkpoint.meta["config"]["model_type"] == "vit"
    assert checkpoint.meta["config"]["id2label"] == {"0": "cat", "1": "dog"}
    assert checkpoint.meta["preprocessor"] == {"image_mean": [0.5, 0.5, 0.5]}
    expected = sum(parameter.numel() for parameter in vit.parameters())
    assert sum(tensor.numel() for tensor in checkpoint.tensors.values()) == expected
    files = sorted(tmp_path.glob("*.safetensors"))
    assert (len(files) > 1) == (shard_size == "8KB")
    assert checkpoint.sha256 == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert checkpoint.notes[0] == (
        f"Read {len(files)} shards." if len(files) > 1 else "Read model.safetensors."
    )


def test_a_file_of_a_folder_brings_its_config(vit: Any, tmp_path: Path) -> None:
    vit.save_pretrained(tmp_path)
    for name in ("model.safetensors", "config.json"):
        checkpoint = read_checkpoint(tmp_path / name)
        assert checkpoint.container == "huggingface"
        assert checkpoint.meta["config"]["model_type"] == "vit"
        assert checkpoint.path == tmp_path / name


def test_timm_folders(tmp_path: Path) -> None:
    model = timm.create_model("test_efficientnet", num_classes=4)
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.meta["config"]["architecture"] == "test_efficientnet"
    expected = model.state_dict()
    assert checkpoint.tensors.keys() == expected.keys()
    assert all(torch.equal(checkpoint.tensors[name], expected[name]) for name in expected)


def test_older_folders_of_pickles(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "shard1.bin")
    torch.save({"b.weight": torch.zeros(2)}, tmp_path / "shard2.bin")
    index = {"weight_map": {"a.weight": "shard1.bin", "b.weight": "shard2.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert list(read_checkpoint(tmp_path).tensors) == ["a.weight", "b.weight"]
    assert list(read_checkpoint(tmp_path / "pytorch_model.bin.index.json").tensors) == [
        "a.weight",
        "b.weight",
    ]


def test_a_folder_with_one_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a.weight": torch.ones(2)}}, tmp_path / "epoch_3.pth")
    checkpoint = read_checkpoint(tmp_path)
    assert (checkpoint.container, checkpoint.weights_key) == ("torch", "state_dict")


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (path / name).write_text(content)
    return path


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "an empty folder"),
        ({"config.json": "{}"}, r"found config\.json"),
        ({"best.pt": "x", "last.pt": "x"}, r"holds 2 checkpoints: best\.pt, last\.pt"),
        ({INDEX: '{"weight_map": {"a": "../../secret.safetensors"}}'}, "outside its folder"),
        ({INDEX: '{"weight_map": {"a": "/etc/passwd"}}'}, "outside its folder"),
        ({INDEX: '{"weight_map": {"a": "gone.safetensors"}}'}, r"missing: gone\.safetensors"),
        ({INDEX: '{"weight_map": {}}'}, "no weight_map"),
        ({INDEX: "[1]"}, "found a list"),
        ({INDEX: "{"}, "cannot be read"),
        ({"adapter_config.json": "{}", "adapter_model.safetensors": "x"}, "PEFT adapter"),
        ({"__0_0.distcp": "x", ".metadata": "x"}, "distributed checkpoint"),
        ({"mp_rank_00_model_states.pt": "x"}, "distributed checkpoint"),
        ({"saved_model.pb": "x"}, "TensorFlow SavedModel"),
    ],
)
def test_folders_without_weights_say_so(files: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder(tmp_path, files))


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("kind", ["loop", "folder", "name"])
def test_weights_that_no_system_opens(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    if kind == "loop":
        weights.symlink_to(weights.name)
    elif kind == "folder":
        weights.mkdir()
    else:
        index = json.dumps({"weight_map": {"fc.weight": "a" * 5000}})
        (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path)


def test_a_shard_alone_names_the_index(vit: Any, tmp_path: Path) -> None:
    vit.save_pretrained(tmp_path, max_shard_size="8KB")
    shard = min(tmp_path.glob("model-0*.safetensors"))
    with pytest.raises(CheckpointError, match=r"is one of \d+ shards") as error:
        read_checkpoint(shard)
    index = str(error.value.hint).partition("lists them, ")[2].partition(", or")[0]
    assert read_checkpoint(tmp_path / index).meta["config"]["model_type"] == "vit"
    whole = tmp_path / "model-00001-of-00001.safetensors"
    save_file({"a": torch.ones(2)}, whole)
    assert list(read_checkpoint(whole).tensors) == ["a"]


@pytest.mark.parametrize("ending", ["model.safetensors", "pytorch_model.bin"])
def test_several_models_of_accelerate_are_not_chosen_among(ending: str, tmp_path: Path) -> None:
    stem, _, suffix = ending.partition(".")
    for number, name in enumerate((ending, f"{stem}_1.{suffix}")):
        save_file({"a": torch.full((2,), float(number))}, tmp_path / name)
    with pytest.raises(CheckpointError, match=f"several models: {stem}.{suffix}, {stem}_1") as error:
        read_checkpoint(tmp_path)
    assert f"{tmp_path.name}/{ending}" in str(error.value.hint)
    assert read_checkpoint(tmp_path / f"{stem}_1.{suffix}").tensors["a"].tolist() == [1, 1]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("other", ["custom_checkpoint_0.pkl", "ema_model.safetensors"])
def test_files_that_may_hold_an_average_are_named(vit: Any, tmp_path: Path, other: str, named: bool) -> None:
    vit.save_pretrained(tmp_path)
    (tmp_path / other).write_bytes(b"an average")
    notes = read_checkpoint(tmp_path / "model.safetensors" if named else tmp_path).notes
    assert any(note.startswith(f"Not read: {other}") for note in notes)


def test_an_adapter_beside_a_named_base_is_reported(vit: Any, tmp_path: Path) -> None:
    vit.save_pretrained(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    assert any(
        "adapter_model.safetensors" in note for note in read_checkpoint(tmp_path / "model.safetensors").notes
    )
