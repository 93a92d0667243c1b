"""Targets that are not plain files, in every command that writes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.graph import storage
from deploykit_exporters.record import record
from deploykit_runtimes.onnx.file import read_onnx
from PIL import Image
from torch import nn

from deploykit.checkup.tiny import tiny_model
from deploykit.cli import main

Output = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


@pytest.fixture
def null(tmp_path: Path) -> Path:
    """A device that may be lost: as root one of the test's own."""
    if os.geteuid() != 0:
        return Path(os.devnull)
    path = tmp_path / "null"
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return path


def reading(pipe: Path) -> tuple[threading.Thread, list[bytes]]:
    """A named pipe with somebody who reads it."""
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    return reader, found


def to_file(tmp_path: Path, *arguments: object) -> tuple[int, bytes, str]:
    """The command with its output redirected as a shell does it."""
    with (tmp_path / "redirected").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "deploykit", *map(str, arguments)],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    return done.returncode, (tmp_path / "redirected").read_bytes(), done.stderr


def test_export_to_a_device(checkpoint: Path, null: Path, capsys: Output) -> None:
    assert main(["export", str(checkpoint), "-o", str(null), "--no-witness"]) == 0
    told = capsys.readouterr().out
    assert f"wrote {null} (" in told
    assert "next" not in told, "nothing can be done with it"
    assert stat.S_ISCHR(null.stat().st_mode)


def test_export_to_a_pipe(checkpoint: Path, tmp_path: Path) -> None:
    reader, found = reading(tmp_path / "pipe")
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "pipe"), "--no-witness"]) == 0
    reader.join()
    graph = onnx.load_from_string(found[0])
    onnx.checker.check_model(graph)
    assert {path.name for path in tmp_path.iterdir()} == {"pipe"}


def test_export_to_standard_output(checkpoint: Path, tmp_path: Path) -> None:
    code, written, told = to_file(tmp_path, "export", checkpoint, "-o", "/dev/stdout", "--no-witness")
    assert code == 0, told
    onnx.checker.check_model(onnx.load_from_string(written))
    assert "wrote /dev/stdout" in told
    code, written, told = to_file(tmp_path, "export", checkpoint, "-o", "/dev/stdout", "--json")
    assert (code, written) == (2, b"")
    assert "both write to stdout" in told


def test_export_through_a_link(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "model.onnx").symlink_to("versions/blob")  # without an ending, as stores of files have them
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "model.onnx"), "--no-witness"]) == 0
    assert (tmp_path / "model.onnx").is_symlink()
    assert read_onnx(tmp_path / "versions" / "blob").spec().task == "classify"


def test_weights_beside_a_model_want_a_place(
    checkpoint: Path, null: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(storage, "SINGLE_FILE_LIMIT", 10_000)
    (tmp_path / "away.onnx").symlink_to("deep/model.onnx")
    for target, reason in ((null, "is a device or pipe"), (tmp_path / "away.onnx", "is a link into another")):
        assert main(["export", str(checkpoint), "-o", str(target), "--no-witness"]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert "weights of an ONNX file lie in a second one" in error
        assert "Exporting" not in error, "before the work"
    (tmp_path / "here.onnx").symlink_to("v1.onnx")
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "here.onnx"), "--no-witness"]) == 0
    assert main(["bench", str(tmp_path / "here.onnx"), "--runs", "2", "--warmup", "0"]) == 0


def test_export_to_what_cannot_be(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for name, reason in (
        ("loop.onnx", "symbolic links"),
        ("folder.onnx", "folder"),
        ("x.txt", "ends in .onnx"),
    ):
        assert main(["export", str(checkpoint), "-o", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert "Loading torch" not in error
    assert {path.name for path in tmp_path.iterdir()} == {"loop.onnx", "folder.onnx"}


def test_what_is_read_outlives_the_command(
    checkpoint: Path, model: Path, tmp_path: Path, capsys: Output
) -> None:
    names = tmp_path / "names.onnx"
    names.write_text("a\nb\nc\n")
    commands: list[tuple[Path, list[str]]] = [
        (checkpoint, ["export", str(checkpoint), "-o"]),
        (names, ["export", str(checkpoint), "--labels", str(names), "-o"]),
        (model, ["bench", str(model), "--runs", "2", "--html"]),
        (model, ["build", str(model), "--runtime", "trt-rtx", "-o"]),
    ]
    for index, (source, command) in enumerate(commands):
        before = source.read_bytes()
        link = tmp_path / f"link{index}.onnx"
        link.symlink_to(source)
        assert main([*command, str(link)]) == 2
        error = capsys.readouterr().err
        assert "is an input here, and would be replaced" in error
        assert "Loading torch" not in error, "before the work"
        assert source.read_bytes() == before


def test_a_page_on_standard_output(model: Path, tmp_path: Path) -> None:
    short = ("bench", model, "--runs", "2", "--warmup", "0")
    code, written, told = to_file(tmp_path, *short, "--html", "/dev/stdout")
    assert code == 0, told
    assert written.startswith(b"<!doctype html>")
    assert written.rstrip().endswith(b"</html>")
    assert "p99" in told, "the table goes where it does not spoil the page"
    code, written, told = to_file(tmp_path, *short, "--json", "--html", "/dev/stdout")
    assert (code, written) == (2, b"")
    code, written, told = to_file(tmp_path, *short, "--json", "--html", "/dev/stderr")
    assert code == 0
    assert json.loads(written)
    assert "</html>" in told


def test_a_page_to_a_device_or_pipe(model: Path, null: Path, tmp_path: Path) -> None:
    short = ["bench", str(model), "--runs", "2", "--warmup", "0", "--html"]
    assert main([*short, str(null)]) == 0
    assert stat.S_ISCHR(null.stat().st_mode)
    reader, found = reading(tmp_path / "pipe")
    assert main([*short, str(tmp_path / "pipe")]) == 0
    reader.join()
    assert found[0].rstrip().endswith(b"</html>")


@pytest.mark.parametrize("runtime", ["ov-cpu", "trt-rtx", "ort-openvino-cpu"])
def test_an_engine_wants_a_place(
    model: Path, null: Path, tmp_path: Path, runtime: str, capsys: Output
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (null, tmp_path / "pipe"):
        assert main(["build", str(model), "--runtime", runtime, "-o", str(target)]) == 2
        assert f"{target} is a device or pipe" in capsys.readouterr().err
    assert stat.S_ISCHR(null.stat().st_mode)
    assert {path.name for path in tmp_path.iterdir()} - {"null"} == {"pipe", "tiny.onnx"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["inspect", "PIPE"], 2),
        (["export", "PIPE"], 2),
        (["verify", "PIPE", "MODEL"], 2),
        (["selftest", "PIPE"], 5),
        (["predict", "MODEL", "PIPE"], 8),
        (["predict", "MODEL", "--watch", "PIPE"], 2),
    ],
)
def test_a_pipe_that_is_to_be_read(
    model: Path, tmp_path: Path, arguments: list[str], code: int, capsys: Output
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = [{"PIPE": str(pipe), "MODEL": str(model)}.get(each, each) for each in arguments]
    assert main(given) == code
    assert f"{pipe} is a pipe, socket or device" in capsys.readouterr().err


def test_an_engine_in_a_folder_behind_a_link(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "real").mkdir()
    (tmp_path / "built").symlink_to("real")
    assert main(["build", str(model), "--runtime", "ov-cpu", "-o", str(tmp_path / "built")]) == 0
    assert (tmp_path / "built").is_symlink()
    assert {path.name for path in (tmp_path / "real").iterdir()} == {"tiny.onnx", "tiny.ov-cpu.cache"}


def test_a_package_behind_a_link(checkpoint: Path, null: Path, tmp_path: Path, capsys: Output) -> None:
    model = tmp_path / "m.onnx"
    assert main(["export", str(checkpoint), "-o", str(model), "--no-witness"]) == 0
    link = tmp_path / "image"
    link.symlink_to("real")
    for force in ([], ["--force"]):
        assert main(["package", "docker", str(model), "-o", str(link), *force]) == 0
        assert link.is_symlink()
        assert (tmp_path / "real" / "Dockerfile").is_file()
    assert main(["package", "docker", str(model), "-o", str(link)]) == 2
    assert "exists" in capsys.readouterr().err
    (tmp_path / "loop").symlink_to("loop")
    for target in (null, tmp_path / "loop", model):
        assert main(["package", "docker", str(model), "-o", str(target)]) == 2
    assert stat.S_ISCHR(null.stat().st_mode)


def test_the_demonstration_wants_a_folder(null: Path, capsys: Output) -> None:
    assert main(["demo", "-o", str(null)]) == 2
    assert "cannot be created" in capsys.readouterr().err


def test_pictures_do_not_go_through_links_that_were_there(
    golden: Path, tmp_path: Path, photos: dict[str, np.ndarray]
) -> None:
    Image.fromarray(photos["cat"]).save(tmp_path / "cat.png")
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "cat.png").symlink_to(tmp_path / "elsewhere.png")
    model = golden / "cpp" / "yolo.onnx"
    assert main(["predict", str(model), str(tmp_path / "cat.png"), "--save", str(tmp_path / "drawn")]) == 0
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"cat.png", "cat-2.png"}
    assert not (tmp_path / "elsewhere.png").exists()


@pytest.mark.parametrize("folder", ["loop", "loop/deeper"])
def test_pictures_into_a_link_to_itself(folder: str, model: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "loop").symlink_to("loop")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert main(["predict", str(model), str(tmp_path / "a.png"), "--save", str(tmp_path / folder)]) == 2
    assert "symbolic links" in capsys.readouterr().err


def test_golden_answers_through_a_link_and_a_pipe(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    (tmp_path / "deep").mkdir()
    (tmp_path / "golden.npz").symlink_to("deep/real.npz")
    record(network, tmp_path / "golden.npz", size=32)
    assert (tmp_path / "golden.npz").is_symlink()
    assert main(["record", str(tmp_path / "deep" / "real.npz")]) == 0
    reader, found = reading(tmp_path / "pipe.npz")
    record(network, tmp_path / "pipe.npz", size=32)
    reader.join()
    assert found[0].startswith(b"PK")
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "golden.npz", "pipe.npz"}
