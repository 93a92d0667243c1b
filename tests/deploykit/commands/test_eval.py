"""``deploykit eval`` on the command line."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import deploykit
from deploykit.cli import main
from deploykit.evaluation import mistakes


@pytest.fixture(scope="module")
def model(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("eval") / "vit.onnx"
    names = [str(number) for number in range(10)]
    return deploykit.export(
        fixtures / "trained" / "vit.pth.tar", output=target, dynamic="batch", labels=names
    ).path


@pytest.fixture(scope="module")
def data(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("small_data", fixtures / "small_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    folder: Path = module.write_digits(tmp_path_factory.mktemp("digits"), limit=30)
    return folder / "val"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "cache"))


def test_numbers_and_pages(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, drawn = tmp_path / "eval.html", tmp_path / "drawn"
    done = main(["eval", str(model), str(data), "--html", str(page), "--save", str(drawn), "--pictures", "2"])
    told = capsys.readouterr()
    assert done == 0
    assert "top-1" in told.out
    assert "30 pictures" in told.out
    assert "Confusion" in page.read_text()
    assert len(list(drawn.iterdir())) <= 2 if drawn.is_dir() else True


def test_one_document(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(model), str(data), "--runtime", "ort-cpu,ov-cpu", "--limit", "9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["runtime"] for each in found["models"]] == ["ort-cpu", "ov-cpu"]
    assert found["settings"]["limit"] == 9
    assert found["comparisons"][0]["mcnemar_p"] == 1.0


def test_a_broken_picture_is_exit_code_8(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = Path(shutil.copytree(data, tmp_path / "val"))
    broken = sorted((copied / "2").iterdir())[0]
    broken.write_bytes(b"no picture")
    assert main(["eval", str(model), str(copied)]) == 8
    told = capsys.readouterr()
    assert broken.name in told.err
    assert "1 of 30 pictures could not be read" in told.err
    assert "top-1" in told.out


def test_an_extra_class_is_exit_code_2(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = Path(shutil.copytree(data, tmp_path / "val"))
    shutil.copytree(copied / "2", copied / "two")
    assert main(["eval", str(model), str(copied)]) == 2
    assert "'two', which the model does not have" in capsys.readouterr().err


def test_a_lone_model_is_exit_code_2(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(model)]) == 2
    assert "MODEL and DATA" in capsys.readouterr().err


def test_an_interrupted_command_goes_on(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from deploykit.progress import Progress

    def press(self: Progress, done: int, total: int) -> None:
        if done == 17:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "count", press)
        assert main(["eval", str(model), str(data)]) == 130
    assert main(["eval", str(model), str(data), "--json"]) == 0
    told = capsys.readouterr()
    assert "17 of them done before" in told.err
    assert json.loads(told.out)["models"][0]["resumed"] == 17


def test_an_interruption_leaves_neither_page_nor_pictures(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def interrupted(one: mistakes.Drawn) -> Image.Image:
        calls.append(one)
        raise KeyboardInterrupt

    monkeypatch.setattr(mistakes, "_side_by_side", interrupted)
    outputs = ["--html", str(tmp_path / "page.html"), "--save", str(tmp_path / "drawn")]
    assert main(["eval", str(model), str(data), *outputs]) == 130
    assert calls
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}
