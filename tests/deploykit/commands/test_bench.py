"""`deploykit bench` over a real ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploykit.cli import main
from deploykit.doctor.tiny import tiny_model

Output = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return str(path)


def test_table_says_what_ran_where(model: str, capsys: Output) -> None:
    assert main(["bench", model, "--runs", "5", "--warmup", "1"]) == 0
    output = capsys.readouterr().out
    for expected in ("median ms", "p95", "p99", "images/s", "CPUExecutionProvider: 2 nodes", "cores usable"):
        assert expected in output


def test_json_and_page(model: str, tmp_path: Path, capsys: Output) -> None:
    page = tmp_path / "new" / "page.html"
    assert main(["bench", model, "--runs", "5", "--json", "--html", str(page)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rows"][0]["runs"] == 5
    assert data["environment"]["packages"]["onnxruntime"]
    assert page.read_text().startswith("<!doctype html>")
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["--runs", "5", "--seconds", "1"], 2, "exclude each other"),
        (["--seconds", "0"], 2, "--seconds"),
        (["--runtime", ","], 2, "at least one runtime"),
        (["--runtime", "ort-cpu,abacus"], 2, "abacus"),
        (["--runtime", "ort-cuda"], 7, "CUDAExecutionProvider"),
        (["--batch", "2", "--runs", "1"], 8, "fixed to 1"),
        (["--imgsz", "9", "--runs", "1"], 8, "fixed to 8"),
        (["--batch", "x"], 2, "positive numbers"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    args: list[str], code: int, expected: str, model: str, capsys: Output
) -> None:
    assert main(["bench", model, *args]) == code
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.out == ""
