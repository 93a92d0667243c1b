"""`deploykit build`: real engines by TensorRT for RTX, which needs no GPU to build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploykit.checkup.tiny import tiny_model
from deploykit.cli import main
from deploykit.model_report import is_model_file

Output = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


@pytest.fixture
def rtx() -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")


@pytest.mark.usefixtures("rtx")
def test_an_engine_is_built_and_then_kept(model: Path, capsys: Output) -> None:
    command = ["build", str(model), "--runtime", "trt-rtx", "--compute-capability", "8.6,12.0"]
    assert main(command) == 0
    captured = capsys.readouterr()
    engine = model.with_name("tiny.trt-rtx.engine")
    assert f"wrote {engine}" in captured.out
    assert "compute capability 8.6, 12.0" in captured.out
    assert "images 1x3x8x8" in captured.out
    assert f"deploykit bench {engine} --runtime trt-rtx" in captured.out
    assert "Building the engine" in captured.err
    assert main(command) == 0
    assert f"kept, it fits: {engine}" in capsys.readouterr().out


@pytest.mark.usefixtures("rtx")
def test_json(model: Path, tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "built"
    assert main(["build", str(model), "--runtime", "trt-rtx", "-o", str(folder), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["runtime"] == "trt-rtx"
    assert [Path(name).name for name in data["files"]] == [
        "tiny.trt-rtx.engine",
        "tiny.trt-rtx.engine.json",
        "tiny.onnx",
    ]
    assert data["size_bytes"] == Path(data["path"]).stat().st_size
    assert data["facts"]["engine"].startswith("tensorrt-rtx 1.")


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["--compute-capability", "9.0"], 2, "found '9.0'"),
        (["--shapes", "images:2x3x8x8"], 2, "fixed to 1 on axis 0"),
        (["--compatibility", "ampere+"], 2, "--compute-capability"),
        (["--strip-weights"], 7, "there is none here"),
    ],
)
def test_what_cannot_be_built_is_refused(
    args: list[str], code: int, expected: str, model: Path, capsys: Output
) -> None:
    assert main(["build", str(model), "--runtime", "trt-rtx", *args]) == code
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.out == ""
    assert list(model.parent.iterdir()) == [model]


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        ([], 2, "--runtime"),
        (["--runtime", "abacus"], 2, "abacus"),
        (["--runtime", "trt"], 7, "--runtime trt-rtx builds here"),
        (["--runtime", "trt-rtx", "--compute-capability", "86"], 2, "such as 8.6,8.9"),
        (["--runtime", "trt-rtx", "--optimization-level", "6"], 2, "0<=x<=5"),
    ],
)
def test_wrong_options_and_missing_drivers(
    args: list[str], code: int, expected: str, model: Path, capsys: Output
) -> None:
    assert main(["build", str(model), *args]) == code
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("runtime", ["trt", "trt-rtx"])
def test_engines_that_cannot_run_here_say_what_would(runtime: str, model: Path, capsys: Output) -> None:
    assert main(["predict", str(model), "picture.jpg", "--runtime", runtime]) in (7, 8)
    assert main(["bench", str(model), "--runtime", runtime]) == 7
    error = capsys.readouterr().err
    assert "libcuda.so.1" in error
    assert "--runtime ort-cpu" in error


def test_what_is_said_to_be_written_is_what_was_built(model: Path, capsys: Output) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    cache = model.with_name("tiny.ov-cpu.cache")
    for done in ("wrote", "kept, it fits:"):
        assert main(["build", str(model), "--runtime", "ov-cpu"]) == 0
        output = capsys.readouterr().out
        assert f"{done} {cache} (" in output
        assert f"deploykit bench {model} --runtime ov-cpu" in output
    assert main(["build", str(model), "--runtime", "ov-cpu", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["path"], data["built"]) == (str(model), str(cache))


@pytest.mark.usefixtures("rtx")
def test_folders_that_were_built_are_inspected(model: Path, tmp_path: Path, capsys: Output) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    folder = tmp_path / "built"
    for runtime in ("ov-cpu", "trt-rtx"):
        assert main(["build", str(model), "--runtime", runtime, "-o", str(folder)]) == 0
    capsys.readouterr()
    for given in (folder, folder / "tiny.onnx", folder / "tiny.ov-cpu.cache"):
        assert main(["inspect", str(given), "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["path"] == str(folder / "tiny.onnx")
        built = [str(folder / f"tiny.{end}") for end in ("ov-cpu.cache", "trt-rtx.engine")]
        assert data["built"] == built
    assert main(["inspect", str(folder)]) == 0
    assert str(folder / "tiny.trt-rtx.engine") in capsys.readouterr().out
    (folder / "tiny.onnx").unlink()
    assert main(["inspect", str(folder)]) == 0
    assert "--runtime trt-rtx" in capsys.readouterr().out


def test_a_checkpoint_with_an_onnx_file_beside_it_stays_one(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.onnx").write_bytes(model.read_bytes())
    assert not is_model_file(folder)
    (folder / "config.json").unlink()
    assert is_model_file(folder)
