"""`deploykit predict` over a real ONNX file and real pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploykit.checkup.tiny import tiny_model
from deploykit.cli import main


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return str(path)


@pytest.fixture
def pictures(tmp_path: Path, photos: dict[str, np.ndarray]) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(photos["cat"]).save(folder / "a.jpg")
    Image.fromarray(photos["rocket"]).save(folder / "b.png")
    Image.fromarray(photos["coffee"]).save(folder / "more" / "a.jpg")
    (folder / "notes.txt").write_text("no picture")
    return folder


Output = pytest.CaptureFixture[str]


def test_one_line_per_image(model: str, pictures: Path, capsys: Output) -> None:
    assert main(["predict", model, str(pictures), "--top-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [str(pictures / "a.jpg"), str(pictures / "b.png")]
    assert all(line.count("class ") == 2 for line in lines)


def test_json_carries_answers_placement_and_times(model: str, pictures: Path, capsys: Output) -> None:
    assert main(["predict", model, str(pictures), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["placement"]["providers"] == {"CPUExecutionProvider": 2}
    assert set(data["timings_ms"]) == {"decode", "preprocess", "infer", "postprocess"}
    assert [len(entry["top"]) for entry in data["results"]] == [3, 3]
    assert data["failed"] == 0


def test_globs_and_repeated_names(model: str, pictures: Path, capsys: Output) -> None:
    args = [str(pictures / "**" / "*.jpg"), str(pictures / "a.jpg")]
    assert main(["predict", model, *args, "--json"]) == 0
    found = [entry["image"] for entry in json.loads(capsys.readouterr().out)["results"]]
    assert sorted(found) == [str(pictures / "a.jpg"), str(pictures / "more" / "a.jpg")]


def test_a_bad_image_does_not_stop_the_others(model: str, pictures: Path, capsys: Output) -> None:
    (pictures / "aa.jpg").write_bytes((pictures / "a.jpg").read_bytes()[:200])
    assert main(["predict", model, str(pictures)]) == 8
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "aa.jpg" in captured.err
    assert "1 of 3 images" in captured.err
    assert main(["predict", model, str(pictures), "--json"]) == 8
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert [("error" in entry) for entry in data["results"]] == [False, True, False]
    assert "aa.jpg" in captured.err


def test_saved_pictures_keep_names_and_never_collide(model: str, pictures: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "deep"
    args = ["predict", model, str(pictures), str(pictures / "more"), "--save", str(target)]
    assert main(args) == 0
    first = {path.name: path.read_bytes() for path in target.iterdir()}
    assert sorted(first) == ["a-2.jpg", "a.jpg", "b.png"]
    assert main(args) == 0
    second = {path.name: path.read_bytes() for path in target.iterdir()}
    assert sorted(second) == ["a-2.jpg", "a-3.jpg", "a-4.jpg", "a.jpg", "b-2.png", "b.png"]
    assert {name: second[name] for name in first} == first
    with Image.open(target / "b.png") as saved, Image.open(pictures / "b.png") as source:
        assert saved.size == source.size
        assert not np.array_equal(np.asarray(saved), np.asarray(source))


def test_saving_never_replaces_a_file_that_was_there(model: str, pictures: Path, tmp_path: Path) -> None:
    target = tmp_path / "album"
    target.mkdir()
    (target / "a.jpg").write_bytes(b"somebody's only copy")
    assert main(["predict", model, str(pictures / "a.jpg"), "--save", str(target)]) == 0
    assert (target / "a.jpg").read_bytes() == b"somebody's only copy"
    assert (target / "a-2.jpg").is_file()


def test_saving_beside_the_sources_never_replaces_them(model: str, pictures: Path) -> None:
    before = (pictures / "a.jpg").read_bytes()
    assert main(["predict", model, str(pictures / "a.jpg"), "--save", str(pictures)]) == 0
    assert (pictures / "a.jpg").read_bytes() == before
    assert (pictures / "a-2.jpg").is_file()


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["nothing-*.jpg"], 8, "nothing-*.jpg"),
        (["{folder}", "--conf", "1.5"], 2, "--conf"),
        (["{folder}", "--runtime", "abacus"], 2, "ort-cpu"),
        (["{folder}", "--runtime", "cuda"], 2, "Did you mean ort-cuda?"),
        (["{folder}", "--runtime", "ort-cuda"], 7, "CUDAExecutionProvider"),
        (["{folder}", "--batch", "4"], 2, "batch"),
        (["{folder}", "--imgsz", "16"], 2, "the model's is fixed to 8"),
        (["{folder}", "--save", "{folder}/a.jpg/out"], 2, "is a file, not a folder"),
        ([], 2, "IMAGE"),
    ],
)
def test_what_does_not_fit_is_refused(
    args: list[str], code: int, expected: str, model: str, pictures: Path, capsys: Output
) -> None:
    filled = [arg.format(folder=pictures) for arg in args]
    assert main(["predict", model, *filled]) == code
    captured = capsys.readouterr()
    assert captured.err.lower().count("error:") == 1
    assert expected in captured.err
    assert captured.out == ""


def test_a_model_that_is_none(pictures: Path, capsys: Output) -> None:
    assert main(["predict", str(pictures / "notes.txt"), str(pictures)]) == 5
    assert "not a valid ONNX model" in capsys.readouterr().err
