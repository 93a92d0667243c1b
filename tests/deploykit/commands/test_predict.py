"""`deploykit predict` over a real ONNX file and real pictures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


@pytest.fixture
def server(pictures: Path) -> Iterator[str]:
    """The pictures behind HTTP."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(pictures))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_urls_among_files_folders_and_globs(
    model: str, pictures: Path, server: str, tmp_path: Path, capsys: Output
) -> None:
    url = f"{server}/a.jpg?token=secret"
    given = [
        url,
        str(pictures / "more"),
        f"{server}/none.jpg",
        str(pictures / "b*"),
        f"{server}/notes.txt",
        url,
    ]
    target = tmp_path / "out"
    assert main(["predict", model, *given, "--json", "--save", str(target)]) == 8
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert [entry["image"] for entry in data["results"]] == [
        f"{server}/a.jpg",
        str(pictures / "more" / "a.jpg"),
        f"{server}/none.jpg",
        str(pictures / "b.png"),
        f"{server}/notes.txt",
    ]
    assert ["error" in entry for entry in data["results"]] == [False, False, True, False, True]
    assert "404" in data["results"][2]["error"]
    assert f"{server}/notes.txt" in data["results"][4]["error"]
    assert "secret" not in captured.out + captured.err
    assert sorted(path.name for path in target.iterdir()) == ["a-2.jpg", "a.jpg", "b.png"]
    assert main(["predict", model, str(pictures / "a.jpg"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["top"] == data["results"][0]["top"]


def test_a_scheme_that_is_not_fetched(model: str, capsys: Output) -> None:
    assert main(["predict", model, "ftp://example.org/a.jpg"]) == 8
    assert "http:// or https://" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["{folder}", "--watch", "{folder}"], "exclude each other"),
        (["{folder}", "--only-new"], "--watch"),
        (["--watch", "{folder}/none"], "does not exist"),
        (["--watch", "{folder}", "--save", "{folder}/more/.."], "is watched"),
        (["--watch", "{folder}", "--watch", "{folder}"], "2 times"),
    ],
)
def test_watching_that_cannot_be_meant(
    args: list[str], expected: str, model: str, pictures: Path, capsys: Output
) -> None:
    assert main(["predict", model, *(arg.format(folder=pictures) for arg in args)]) == 2
    assert expected in capsys.readouterr().err
