"""`deploykit inspect` of model files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deploykit_runtimes.contract.spec import PrecisionRecord, Preprocess

from deploykit.checkup.tiny import tiny_model
from deploykit.cli import main
from deploykit.commands.inspect import preprocess_text
from deploykit.commands.shared.describe import precision_lines

Output = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return str(path)


def test_a_foreign_model(model: str, capsys: Output) -> None:
    assert main(["inspect", model]) == 0
    output = capsys.readouterr().out
    for expected in (
        "images float32 [1, 3, 8, 8]",
        "logits float32 [1, 3]",
        "inferred from shapes",
        "sha256",
    ):
        assert expected in output


def test_json_has_the_contract(model: str, capsys: Output) -> None:
    assert main(["inspect", model, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["spec"]["input"]["height"] == 8
    assert data["spec"]["inferred"] is True
    assert data["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [1, 3]}]


@pytest.mark.parametrize("content", [b"", b"not a model", tiny_model()[:40]])
def test_damaged_models_are_refused(content: bytes, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert main(["inspect", str(path)]) == 5
    assert "bad.onnx" in capsys.readouterr().err


def test_a_missing_model(capsys: Output) -> None:
    assert main(["inspect", "missing.onnx"]) == 5
    assert "missing.onnx" in capsys.readouterr().err


def test_preprocessing_in_words() -> None:
    tensorflow = Preprocess(
        pre_crop=0.875, resize="stretch", resize_to=(224, 224), interpolation="bicubic", mean=(0.5,) * 3
    )
    text = preprocess_text(tensorflow)
    assert text.startswith("crop 0.875 of the short side; stretch to 224 x 224 (bicubic, pillow); rgb")
    assert preprocess_text(Preprocess(included=True)) == "inside the graph"


def test_a_precision_in_words() -> None:
    assert precision_lines(None) == []
    record = PrecisionRecord(
        compute="int8",
        cpus=("vnni", "no-vnni"),
        data="digits",
        data_sha256="abcdef0123456789",
        images=200,
        metric="top1",
        budget=0.01,
        reference=0.98,
        accuracy=0.975,
        kept=tuple(f"layer {number}: ends in \x1b" for number in range(8)),
    )
    lines = precision_lines(record)
    assert lines[0] == "int8 for any engine, shown for CPUs vnni and no-vnni"
    assert lines[1] == "top1 0.975, float32 0.98 (200 images, at most 1.00% less allowed)"
    assert "sha256 abcdef012345" in lines[2]
    assert "and 2 more" in lines[3]
    assert "\x1b" not in "".join(lines)
