"""``deploykit serve`` up to the moment when it listens; the rest is in tests/deploykit/serve."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deploykit.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    return path


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 5, "model.onnx"),
        (["--runtime", "gpu"], 2, "Runtime 'gpu'"),
        (["--port", "70000"], 2, "70000"),
        (["--max-delay", "-1"], 2, "-1"),
        (["--api-key-file", "nowhere"], 2, "nowhere"),
        (["--queue", "0"], 2, "queue"),
    ],
)
def test_what_keeps_it_from_starting(
    model: Path, options: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(model), "--port", "0", "--no-grpc", *options]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_a_port_that_is_taken(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(model), "--port", port, "--no-grpc"]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_keys_that_are_easily_guessed(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").write_text("abc\n")
    assert main(["serve", str(model), "--api-key-file", str(tmp_path / "keys")]) == 2
    assert "at least 8" in capsys.readouterr().err


def test_a_model_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path / "none.onnx"), "--port", "0"]) == 5
    assert "none.onnx does not exist" in capsys.readouterr().err
