"""Models by name, with a stand-in for the one function that uses the network."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.sources import download
from deploykit_exporters.sources.download import NamedModel, fetch, is_model_name, resolve
from deploykit_runtimes.errors import CheckpointError, DownloadError, OptionError
from safetensors.torch import save_file

TINY = "timm:test_efficientnet.r160_in1k"


def test_names_are_told_from_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(TINY) == NamedModel(library="timm", name="test_efficientnet.r160_in1k")
    assert str(resolve(TINY)) == TINY
    assert resolve("ultralytics:yolo11n.pt") == NamedModel(library="ultralytics", name="yolo11n.pt")
    for path in ("model.pth", "C:\\weights\\model.pth", "timm:", "hub:model", "folder/timm:x"):
        assert resolve(path) == Path(path)
        assert not is_model_name(path)
    monkeypatch.chdir(tmp_path)
    Path("timm:mine").touch()
    assert resolve("timm:mine") == Path("timm:mine")
    with pytest.raises(OptionError, match="not the name of a downloadable model"):
        fetch("model.pth")


def test_a_timm_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = timm.create_model("test_efficientnet")
    path = tmp_path / "model.safetensors"
    save_file(source.state_dict(), path)
    asked: list[Any] = []

    def stand_in(model: NamedModel, settings: dict[str, Any]) -> Path:
        asked.append((model.name, settings["hf_hub_id"]))
        return path

    monkeypatch.setattr(download, "_download", stand_in)
    checkpoint = fetch(TINY)
    assert asked == [("test_efficientnet.r160_in1k", "timm/test_efficientnet.r160_in1k")]
    expected = source.state_dict()
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.tensors[name], expected[name]) for name in expected)
    assert checkpoint.meta["arch"] == "test_efficientnet"
    config = checkpoint.meta["timm_config"]
    assert config["architecture"] == "test_efficientnet"
    assert config["input_size"] == (3, 160, 160)
    assert {"mean", "std", "interpolation", "crop_pct", "crop_mode", "num_classes"} <= config.keys()
    assert len(config["label_names"]) == 1000
    assert config["label_names"][281].startswith("tabby")
    assert checkpoint.notes == (f"Fetched {TINY}.",)


def test_weights_of_another_model_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"other.weight": torch.ones(2)}, path)
    monkeypatch.setattr(download, "_download", lambda *_: path)
    with pytest.raises(CheckpointError, match="does not fit its architecture"):
        fetch(TINY)


def test_an_ultralytics_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "yolo11n.pt"
    torch.save({"model": {"model.0.conv.weight": torch.ones(2)}}, path)
    monkeypatch.setattr(download, "_ultralytics_asset", lambda name: tmp_path / name)
    for name in ("ultralytics:yolo11n.pt", "ultralytics:yolo11n"):
        checkpoint = fetch(name)
        assert list(checkpoint.tensors) == ["model.0.conv.weight"]
        assert checkpoint.notes[0] == "Fetched ultralytics:yolo11n.pt."


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("timm:vit_base_patch_224", "vit_base_patch16_224"),
        ("timm:vit_base_patch16_224.agreg_in21k", "vit_base_patch16_224.augreg_in21k"),
        ("ultralytics:yolov11n.pt", "yolo11n.pt"),
        ("ultralytics:yolo11n-segment.pt", "yolo11n-seg.pt"),
    ],
)
def test_an_unknown_name_brings_near_ones(name: str, near: str) -> None:
    with pytest.raises(OptionError, match="has no pretrained model") as caught:
        fetch(name)
    assert near in caught.value.hint


@pytest.mark.parametrize("name", ["timm:zzzzzzzzzzzz", "ultralytics:nope.pt", "ultralytics:n.pt"])
def test_a_name_like_no_other(name: str) -> None:
    """The ending that all names of Ultralytics share makes none of them near."""
    with pytest.raises(OptionError) as caught:
        fetch(name)
    assert caught.value.hint == f"See the list of models of {name.partition(':')[0]}."


@pytest.mark.parametrize("name", [TINY, "ultralytics:yolov8n-seg.pt"])
def test_offline_is_said_at_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite runs with HF_HUB_OFFLINE and YOLO_OFFLINE."""
    monkeypatch.chdir(tmp_path)
    if name.startswith("ultralytics"):
        _cut_network(monkeypatch)
    with pytest.raises(DownloadError, match=f"{name} could not be fetched") as caught:
        fetch(name)
    assert "give its path" in caught.value.hint
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize("before", ["absent", "empty", "used"])
def test_a_failed_download_leaves_no_empty_folder(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    if before != "absent":
        folder.mkdir()
    if before == "used":
        (folder / "other.pt").write_bytes(b"")
    monkeypatch.setattr("ultralytics.utils.SETTINGS", {"weights_dir": str(folder)})
    _cut_network(monkeypatch)
    with pytest.raises(DownloadError):
        fetch("ultralytics:yolov8n-seg.pt")
    assert folder.exists() == (before != "absent")
    assert (folder / "other.pt").exists() == (before == "used")


def test_an_unreachable_server_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("the client was asked")
    )
    with pytest.raises(DownloadError, match="could not be fetched"):
        fetch(TINY)


def test_an_old_url_goes_to_torchs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def stand_in(url: str, target: str) -> None:
        Path(target).write_text(url)

    monkeypatch.setattr(torch.hub, "download_url_to_file", stand_in)
    path = download._torch_hub_file("https://example.org/weights-1234.pth")
    assert path == tmp_path / "checkpoints" / "weights-1234.pth"
    assert path.read_text() == "https://example.org/weights-1234.pth"


def _cut_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("requests.get", refuse)
    monkeypatch.setattr("ultralytics.utils.downloads.is_online", lambda: False)
