"""`deploykit bench` over a real ONNX file."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import pytest
from deploykit_runtimes.machine.nvidia import has_nvidia_driver

from deploykit.checkup.tiny import tiny_model
from deploykit.cli import main

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
        (["--batch", "2", "--runs", "1"], 2, "fixed to 1"),
        (["--imgsz", "9", "--runs", "1"], 2, "fixed to 8"),
        (["--html", "{folder}"], 2, "is a directory"),
        (["--html", "{folder}/tiny.onnx/page.html"], 2, "is a file, not a folder"),
        (["--batch", "x"], 2, "positive numbers"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    args: list[str], code: int, expected: str, model: str, tmp_path: Path, capsys: Output
) -> None:
    assert main(["bench", model, *(arg.format(folder=tmp_path) for arg in args)]) == code
    captured = capsys.readouterr()
    assert expected in captured.err
    assert "Measuring" not in captured.err
    assert captured.out == ""


def test_a_page_that_cannot_be_written_does_not_lose_the_table(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    page = tmp_path / "page.html"
    assert main(["bench", model, "--runs", "5", "--html", str(page)]) == 1
    captured = capsys.readouterr()
    assert "median ms" in captured.out
    assert re.search(rf"No space left on device, .* wanted, .* free: {re.escape(str(page))}", captured.err)
    assert not page.exists()


@pytest.mark.parametrize("command", ["bench", "predict", "inspect"])
def test_a_checkpoint_is_no_model(command: str, tmp_path: Path, capsys: Output) -> None:
    checkpoint = tmp_path / ("best.onnx" if command == "inspect" else "best.pth")
    checkpoint.write_bytes(b"PK\x03\x04 a zip archive")
    (tmp_path / "a.jpg").write_bytes(b"")
    args = [command, str(checkpoint)] + ([str(tmp_path / "a.jpg")] if command == "predict" else [])
    assert main(args) == 5
    error = capsys.readouterr().err
    assert "is a checkpoint, wanted a model" in error
    assert f"deploykit export {checkpoint}" in error


def test_several_engines_make_one_comparison(model: str, capsys: Output) -> None:
    args = ["bench", model, "--runtime", "ov", "--cpu", "--runs", "3", "--warmup", "1", "--json"]
    assert main(args) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["name"] for row in rows] == ["ov-cpu, batch 1", "ort-cpu, batch 1"]
    assert [row["placement"]["precision"] for row in rows] == ["fp32", "fp32"]


@pytest.mark.skipif(has_nvidia_driver(), reason="there is an NVIDIA driver here")
@pytest.mark.parametrize("flag", ["--cuda", "--trt"])
def test_what_cannot_run_here_is_one_message(flag: str, model: str, capsys: Output) -> None:
    assert main(["bench", model, flag, "--runs", "1"]) == 7
    captured = capsys.readouterr()
    assert captured.err.count("error:") == 1
    assert captured.out == ""


def test_torch_needs_the_checkpoint(model: str, capsys: Output) -> None:
    assert main(["bench", model, "--runtime", "torch", "--runs", "1"]) == 2
    assert "--reference" in capsys.readouterr().err
