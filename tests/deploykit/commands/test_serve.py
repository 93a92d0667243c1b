"""``deploykit serve`` up to the moment when it listens; the rest is in tests/deploykit/serve."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploykit.checkup.tiny import tiny_model
from deploykit.cli import main


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """The command sets up the log of its process, which is that of the tests here."""
    logger = logging.getLogger("deploykit.serve")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


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
        (["--host", ""], 2, "--host is empty"),
        (["--log-level", "loud"], 2, "loud"),
    ],
)
def test_what_keeps_it_from_starting(
    model: Path, options: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = [] if "--port" in options else ["--port", "0"]
    assert main(["serve", str(model), *port, "--no-grpc", *options]) == code
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


@pytest.fixture
def served(tmp_path: Path) -> list[str]:
    """A command line that serves a model."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return [sys.executable, "-m", "deploykit", "serve", str(path), "--port", "0", "--no-grpc"]


@pytest.mark.parametrize("closed", [">&-", "| true", ">&- <&-"])
def test_nobody_needs_to_read_what_it_prints(served: list[str], closed: str) -> None:
    """Whether its output was closed before, or its reader went away."""
    # bash tells the number of the process that becomes the server, and its exit code in a pipe.
    server = f"echo $BASHPID >&2; exec {shlex.join(served)}"
    command = f"set -o pipefail; ({server}) {closed}" if closed == "| true" else f"{server} {closed}"
    process = subprocess.Popen(["bash", "-c", command], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        number = int(process.stderr.readline())
        lines = [process.stderr.readline()]
        while "loaded tiny" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        os.kill(number, signal.SIGTERM)
        _, log = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, log
    assert log.strip().endswith("stopped")
    assert "Traceback" not in log
    assert "Exception ignored" not in log


def test_a_signal_while_it_starts_is_an_end_like_any_other(served: list[str], tmp_path: Path) -> None:
    """The signal comes while the keys are read, here from a pipe into which nobody writes."""
    keys = tmp_path / "keys"
    os.mkfifo(keys)
    process = subprocess.Popen([*served, "--api-key-file", str(keys)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not has_reader(keys):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
        _, log = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, log) == (0, "")


def has_reader(pipe: Path) -> bool:
    """Whether somebody has opened a named pipe, or is about to."""
    try:
        # Left open: the reader would find the end of the file otherwise.
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    return True
