"""What is refused as a model by its first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_runtimes import load
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.onnx.model_file import check_model_file, looks_like_onnx

from deploykit.checkup.tiny import tiny_model


def test_a_model_passes(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    check_model_file(path)
    assert looks_like_onnx(path)
    assert not looks_like_onnx(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["crossformer/crossformer.pth", "yolox_plain.pth", "keras_efficientnet.h5"],
)
def test_real_checkpoints_bring_the_export(name: str, fixtures: Path, tmp_path: Path) -> None:
    path = next(
        folder / name for folder in (fixtures, fixtures.parent / "golden") if (folder / name).exists()
    )
    with pytest.raises(ModelError, match="is a checkpoint, wanted a model") as caught:
        check_model_file(path)
    assert caught.value.hint == f"Export it first: deploykit export {path}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"\x80\x04\x95", "is a checkpoint"),
        (b"\x18\x00\x00\x00\x00\x00\x00\x00{}", "is a checkpoint"),
        (b"\xff\xd8\xff\xe0", "is an image"),
        (b"\x89PNG\r\n\x1a\n", "is an image"),
    ],
)
def test_what_is_no_model(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=problem):
        check_model_file(path)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder") as caught:
        load(tmp_path)
    assert "deploykit export" in caught.value.hint
    with pytest.raises(ModelError, match="does not exist"):
        load(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        check_model_file(tmp_path)
    with pytest.raises(OptionError, match="found None"):
        check_model_file(None)
