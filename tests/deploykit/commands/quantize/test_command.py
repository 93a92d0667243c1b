"""``deploykit quantize --fp16``: what is printed, written and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.onnx.file import read_onnx
from PIL import Image

from deploykit.cli import main

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantize") / "best.onnx"
    export(fixtures / "trained" / "vit.pth.tar", ExportOptions(output=path, witness=False))
    return path


def test_a_file_is_written_beside_the_model_and_tests_itself(model: Path, capsys: Output) -> None:
    assert main(["quantize", str(model), "--fp16"]) == 0
    said = capsys.readouterr().out
    path = model.with_name("best-fp16.onnx")
    assert f"wrote {path}" in said
    assert "19 of 27 convolutions and products" in said
    assert "4 attentions: sums in float32" in said
    assert "rounded after every node, logits is off by" in said
    assert main(["selftest", str(path), "--runtime", "ort-cpu,ov-cpu"]) == 0
    assert capsys.readouterr().out.count("judged by  the tolerances for fp16") == 2
    assert main(["inspect", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "fp16 for any engine" in said
    assert "agreement 1, float32 1" in said


def test_the_file_is_compared_as_float16(model: Path, fixtures: Path, tmp_path: Path, capsys: Output) -> None:
    path, checkpoint = tmp_path / "half.onnx", str(fixtures / "trained" / "vit.pth.tar")
    assert main(["quantize", str(model), "--fp16", "-o", str(path)]) == 0
    assert main(["verify", checkpoint, str(path)]) == 0
    assert main(["verify", checkpoint, str(path), "--tolerance", "1e-6"]) == 3
    assert main(["verify", checkpoint, str(path), "--bisect"]) == 0
    assert "no layer differs in ort-cpu beyond 1e-02" in capsys.readouterr().out


def test_json_and_pictures(
    model: Path, photos: dict[str, np.ndarray], tmp_path: Path, capsys: Output
) -> None:
    folder = tmp_path / "classes" / "cat"
    folder.mkdir(parents=True)
    Image.fromarray(photos["cat"]).save(folder / "cat.jpg")
    target = tmp_path / "half.onnx"
    line = ["quantize", str(model), "--fp16", "--calib", str(folder.parent), "-o", str(target), "--json"]
    assert main(line) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["path"] == str(target)
    assert data["precision"] == "fp16"
    assert data["calibration"] == "1 picture of classes"
    assert any("1 calibration picture is few" in note for note in data["notes"])
    spec = read_onnx(target).spec()
    assert spec.precision is not None
    assert data["metadata"]["deploykit.precision.data_sha256"] == spec.precision.data_sha256 != ""


def test_export_writes_it_at_once(fixtures: Path, tmp_path: Path, capsys: Output) -> None:
    target = tmp_path / "vit.onnx"
    line = ["export", str(fixtures / "trained" / "vit.pth.tar"), "-o", str(target), "--no-witness"]
    assert main([*line, "--precision", "fp16", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["metadata"]["deploykit.precision.compute"] == "fp16"
    assert data["size_bytes"] == target.stat().st_size < 450_000
    assert data["operators"]["Cast"] == 18
    assert data["seconds"]["float16"] > 0
    assert [each.name for each in tmp_path.iterdir()] == ["vit.onnx"]


def test_export_measures_on_the_pictures_of_a_data_set(
    fixtures: Path, photos: dict[str, np.ndarray], tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    for number, photo in enumerate(photos.values()):
        Image.fromarray(photo).save(tmp_path / "images" / "train" / f"{number}.jpg")
    data = tmp_path / "data.yaml"
    data.write_text("path: .\ntrain: images/train\nval: images/train\nnames: [a]\n")
    target = tmp_path / "vit.onnx"
    line = ["export", str(fixtures / "trained" / "vit.pth.tar"), "-o", str(target), "--no-witness"]
    assert main([*line, "--precision", "fp16", "--calib", str(data), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["metadata"]
    assert said["deploykit.precision.data"] == f"{len(photos)} pictures of data.yaml"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["quantize", "MODEL"], 2, "Add --fp16"),
        (["quantize", "MODEL", "--fp16", "--calib", "EMPTY"], 8, "holds no images"),
        (["quantize", "MODEL", "--fp16", "--calib", "nowhere"], 8, "--calib: Image nowhere does not exist"),
        (["quantize", "MODEL", "--fp16", "--calib", "DATA"], 8, "train of"),
        (["quantize", "MODEL", "--fp16", "-o", "EMPTY"], 2, "is a folder"),
        (["quantize", "CHECKPOINT", "--fp16"], 5, "is not a valid ONNX model"),
        (["export", "CHECKPOINT", "--calib", "EMPTY"], 2, "Add --precision fp16"),
        (["export", "CHECKPOINT", "--precision", "fp16", "--calib", "EMPTY"], 8, "holds no images"),
        (["export", "CHECKPOINT", "--precision", "fp16", "--calib", "DATA"], 8, "train of"),
    ],
)
def test_what_cannot_be_used_is_told(
    line: list[str], code: int, said: str, model: Path, fixtures: Path, tmp_path: Path, capsys: Output
) -> None:
    empty, data = tmp_path / "empty", tmp_path / "data.yaml"
    empty.mkdir()
    data.write_text("path: .\ntrain: empty\nval: empty\nnames: [a]\n")
    words = {
        "MODEL": str(model),
        "EMPTY": str(empty),
        "DATA": str(data),
        "CHECKPOINT": str(fixtures / "trained" / "vit.pth.tar"),
    }
    before = sorted(model.parent.iterdir())
    assert main([words.get(word, word) for word in line]) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert sorted(model.parent.iterdir()) == before
    assert sorted(tmp_path.iterdir()) == [data, empty]
