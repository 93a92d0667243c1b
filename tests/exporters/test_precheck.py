"""Requests refused before torch is loaded, and the name of the model file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.precheck import check_source, default_output, output_path, precheck
from deploykit_runtimes.errors import CheckpointError, OptionError


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "as a path, a name or a module, found None"),
        ("", "found ''"),
        (3, "found 3"),
        ("foo:bar", "from 'foo'"),
        ("huggingface:google/vit", "timm:NAME or ultralytics:NAME"),
        ("timm:", "neither an existing file nor a known model name"),
        ("batch", "export CKPT --dynamic batch"),
    ],
)
def test_what_can_be_no_checkpoint(
    source: object, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as caught:
        check_source(source)
    assert expected in str(caught.value)


def test_files_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"\xff\xd8\xff\xe0 a photo")
    with pytest.raises(CheckpointError, match="found an image"):
        check_source(tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match="does not exist") as caught:
        check_source(tmp_path / "bst.pth")
    assert caught.value.hint == "Did you mean best.pth?"
    with pytest.raises(CheckpointError, match="found an image"):
        check_source(tmp_path)
    (tmp_path / "best.pth").unlink()
    with pytest.raises(CheckpointError, match="wanted weights"):
        check_source(tmp_path)


def test_names_of_models_and_windows_paths_pass_or_are_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    check_source("timm:vit_tiny_patch16_224")
    with pytest.raises(CheckpointError, match="does not exist"):
        check_source("C:\\models\\best.pth")


def test_files_of_options_are_read_early(tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"\x80\x02.")
    with pytest.raises(OptionError, match="cannot be read"):
        precheck(tmp_path / "best.pth", ExportOptions(labels=tmp_path / "none.txt"))
    with pytest.raises(OptionError, match=r"ends in \.onnx"):
        precheck(tmp_path / "best.pth", ExportOptions(output=Path("x.engine")))
    precheck(tmp_path / "best.pth", ExportOptions(output=Path("x.engine")), writes=False)


def test_nothing_of_it_loads_torch(tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"\x80\x02.")
    code = (
        "import sys\nfrom deploykit_exporters.options import ExportOptions\n"
        "from deploykit_exporters.precheck import precheck\n"
        f"precheck({str(tmp_path / 'best.pth')!r}, ExportOptions(dynamic=True))\n"
        "sys.exit(' '.join(m for m in ('torch', 'timm', 'onnx', 'ultralytics') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_as_the_output_brings_a_name_inside_it(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="found the folder") as caught:
        output_path("best.pth", ExportOptions(output=tmp_path))
    assert caught.value.hint == f"-o {tmp_path / 'model.onnx'}"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("best.pth.tar", "best.onnx"),
        ("run.1.pt", "run.1.onnx"),
        ("vit-v1.5.safetensors", "vit-v1.5.onnx"),
        ("weights", "weights.onnx"),
    ],
)
def test_the_default_name_tells_checkpoints_apart(tmp_path: Path, name: str, model: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert default_output(tmp_path / name) == (tmp_path / model).resolve()


def test_the_default_name_of_folders_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "vit-v1.5"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert default_output(".") == tmp_path.resolve() / "vit-v1.5.onnx"
    tagged = default_output("timm:vit_base_patch16_224.augreg_in21k")
    assert tagged == Path("vit_base_patch16_224.augreg_in21k.onnx")
    assert default_output("ultralytics:yolo11n.pt") == Path("yolo11n.onnx")
