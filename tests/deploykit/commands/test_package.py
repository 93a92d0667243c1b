"""``deploykit package``: folders from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploykit.checkup.tiny import tiny_model
from deploykit.cli import main

Output = pytest.CaptureFixture[str]
KINDS = {
    "triton": ["tiny/1/model.onnx", "tiny/config.pbtxt"],
    "ray": ["app.py", "models/tiny.onnx", "requirements.txt", "serve.yaml"],
    "kserve": ["inference-service-tiny.yaml", "models/tiny/tiny.onnx", "serving-runtime.yaml"],
    "docker": [".dockerignore", "Dockerfile", "Dockerfile.cuda", "compose.yaml", "models/tiny.onnx"],
}
NEEDED = {"kserve": ["--storage-uri", "s3://bucket/models", "--image", "registry/deploykit:1"]}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(kind: str, model: Path, tmp_path: Path, capsys: Output) -> None:
    command = ["package", kind, str(model), "-o", str(tmp_path / "out"), *NEEDED.get(kind, [])]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"wrote {tmp_path / 'out'}" in printed
    assert "next  " in printed
    assert main(command) == 2
    assert "Replace it with --force" in capsys.readouterr().err
    assert main([*command, "--force", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["kind"] == kind
    sources = [file for file in data["files"] if file.startswith("source/")]
    assert sorted(set(data["files"]) - set(sources)) == sorted(KINDS[kind])
    assert bool(sources) == (kind in ("docker", "ray"))
    assert ("source/ (" in printed) == bool(sources)
    assert "source/LICENSE" not in printed
    assert list(data["models"]) == ["tiny"]
    assert all("{path}" not in command for command in data["next"])
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in found) == sorted(
        [*KINDS[kind], *sources, ".deploykit-package"]
    )


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["triton", "MODEL"], 2, "Missing option '-o'"),
        (["triton", "-o", "OUT"], 2, "Missing argument"),
        (["triton", "none.onnx", "-o", "OUT"], 5, "none.onnx does not exist"),
        (["triton", "a b=MODEL", "-o", "OUT"], 2, "found 'a b'"),
        (["triton", "MODEL", "-o", "OUT", "--tensorrt", "--device", "cpu"], 2, "TensorRT runs on GPUs"),
        (["ray", "MODEL", "-o", "OUT", "--min-replicas", "5"], 2, "--min-replicas 5 is above"),
        (["kserve", "MODEL", "-o", "OUT", "--image", "x"], 2, "--storage-uri"),
        (["docker", "MODEL", "-o", "OUT", "--wheel", "x.whl"], 2, "wheel of deploykit"),
        (["tritn", "MODEL"], 2, "No such command"),
    ],
)
def test_one_clear_error(
    args: list[str], code: int, expected: str, model: Path, tmp_path: Path, capsys: Output
) -> None:
    places = {"MODEL": str(model), "OUT": str(tmp_path / "out"), "a b=MODEL": f"a b={model}"}
    assert main(["package", *(places.get(arg, arg) for arg in args)]) == code
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == [model]


def test_help_lists_the_kinds(capsys: Output) -> None:
    assert main(["package", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in KINDS)
