"""`deploykit quantize --int8`: prints, files and exit codes. Nothing depends on how fast it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from deploykit.cli import main

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    os.chmod(folder, 0o700)
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(folder))


def line(vit: Path, digits: Path, tmp_path: Path, *more: str) -> list[str]:
    target = str(tmp_path / "out.onnx")
    quick = ("--target", "ort-cpu", "--calibrate", "10", "--limit", "20", "--seconds", "0.02")
    return ["quantize", str(vit), "--int8", "--calib", str(digits), "-o", target, *quick, *more]


def test_a_file_and_a_page_are_written(vit: Path, digits: Path, tmp_path: Path, capsys: Output) -> None:
    page = tmp_path / "int8.html"
    more = ("--budget", "20%", "--keep-slower", "--html", str(page))
    assert main(line(vit, digits, tmp_path, *more)) == 0
    printed = capsys.readouterr().out
    assert f"wrote {tmp_path / 'out.onnx'}" in printed
    assert "next  deploykit selftest" in printed
    assert "top-1" in printed
    assert page.read_text().startswith("<!doctype html>")
    assert main(["selftest", str(tmp_path / "out.onnx")]) == 0
    assert main(["inspect", str(tmp_path / "out.onnx")]) == 0
    assert "int8 for " in capsys.readouterr().out


def test_json_holds_every_candidate(vit: Path, digits: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(line(vit, digits, tmp_path, "--budget", "20%", "--keep-slower", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] == str(tmp_path / "out.onnx")
    assert found["metric"] == "top1"
    assert len(found["candidates"]) > 5
    assert found["best"]["accuracy"]["loss"] <= 0.2


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--budget", "much"), 2, "a share such as 0.01 or 1%"),
        (("--metric", "map"), 2, "--metric map does not fit"),
        (("--html", "/dev/stdout"), 2, "stdout has the numbers"),
        (("--fp16",), 2, "found two"),
    ],
)
def test_what_cannot_be_used(
    more: tuple[str, ...], code: int, words: str, vit: Path, digits: Path, tmp_path: Path, capsys: Output
) -> None:
    assert main(line(vit, digits, tmp_path, *more)) == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.onnx").exists()


def test_options_of_8_bits_are_not_those_of_16(vit: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["quantize", str(vit), "--fp16", "--budget", "2%"]) == 2
    assert "--budget is for --int8" in capsys.readouterr().err
    assert main(["quantize", str(vit), "--fp16", "--html", str(tmp_path / "page.html")]) == 2
    assert "--html is for --int8" in capsys.readouterr().err
    assert main(["quantize", str(vit)]) == 2
    assert "Add --fp16 or --int8" in capsys.readouterr().err
