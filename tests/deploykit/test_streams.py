"""Standard streams that are closed, full or gone, and names that are not UTF-8."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from deploykit import cli, terminal
from deploykit.checkup.tiny import tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.onnx").write_bytes(tiny_model())
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.png")
    return tmp_path


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, where ``deploykit`` is the command."""
    command = f'deploykit() {{ {sys.executable} -m deploykit "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("deploykit inspect tiny.onnx >&-", 0),
        ("deploykit inspect tiny.onnx 2>&-", 0),
        ("deploykit predict tiny.onnx a.png >&- 2>&-", 0),
        ("deploykit predict tiny.onnx a.png <&- >&- 2>&-", 0),
        ("deploykit bench tiny.onnx --runs 1 --warmup 0 >&- 2>&-", 0),
        ("deploykit inspect none.onnx 2>&-", 5),
        ("deploykit inspect none.onnx 2>/dev/full", 5),
        ("deploykit --help >&-", 0),
        ("deploykit nonsense 2>&-", 2),
        ("deploykit nonsense 2>/dev/full", 2),
    ],
)
def test_closed_streams_are_no_bug(folder: Path, line: str, code: int) -> None:
    done = shell(folder, line)
    assert done.returncode == code, done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", ["inspect none.onnx", "predict tiny.onnx a.png", "inspect tiny.onnx"])
def test_a_reader_of_stderr_that_is_gone(folder: Path, line: str) -> None:
    done = shell(folder, f"(deploykit {line}; echo $? >code) 2>&1 >/dev/null | true; cat code")
    wanted = "5" if "none" in line else "0"
    assert (done.stdout.strip(), done.stderr) == (wanted, "")


def test_a_full_stdout_is_named(folder: Path) -> None:
    done = shell(folder, "deploykit inspect tiny.onnx >/dev/full")
    assert done.returncode == 1
    assert "error: No space left on device: standard output" in done.stderr


def test_a_file_that_is_opened_does_not_become_stdout(folder: Path) -> None:
    before = (folder / "tiny.onnx").read_bytes()
    script = "import os, deploykit.__main__ as m; m._replace_closed_streams(); print('x'); "
    script += "n = os.open('tiny.onnx', os.O_RDWR); assert n > 2, n; os.write(2, str(n).encode())"
    done = shell(folder, f'{sys.executable} -c "{script}" >&-')
    assert (done.returncode, done.stderr.isdecimal()) == (0, True), done.stderr
    assert (folder / "tiny.onnx").read_bytes() == before


def test_a_closed_stdout_cannot_take_a_page(folder: Path) -> None:
    done = shell(folder, "deploykit bench tiny.onnx --runs 1 --warmup 0 --html /dev/stdout >&-")
    assert done.returncode == 1
    assert "/dev/stdout" in done.stderr


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_program_without_a_console(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None if stream is None else closed)
    assert cli.main(["inspect", "none.onnx"]) == 5
    assert not terminal.is_terminal()
    assert not terminal.is_terminal(err=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="file names of any bytes are Linux's")
def test_names_that_are_not_utf8(folder: Path, checkpoint: Path) -> None:
    odd = os.fsencode(folder) + b"/caf\xe9"
    for suffix, source in (
        (b".onnx", folder / "tiny.onnx"),
        (b".pth", checkpoint),
        (b".png", folder / "a.png"),
    ):
        with open(odd + suffix, "wb") as file:
            file.write(source.read_bytes())
    lines = (
        "set -e; f=$(printf 'caf\\xe9')",
        "deploykit predict $f.onnx $f.png",
        "deploykit bench $f.onnx --runs 1",
        "deploykit export $f.pth -o $f.new.onnx",
        "deploykit inspect $f.new.onnx",
        "deploykit verify $f.pth $f.new.onnx $f.png",
    )
    done = shell(folder, "; ".join(lines))
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9" in done.stdout
    refused = shell(folder, "deploykit build $(printf 'caf\\xe9').onnx --runtime ov-cpu -o built")
    assert (refused.returncode, "names in UTF-8" in refused.stderr) == (2, True), refused.stderr
    assert not (folder / "built").exists()


@pytest.mark.parametrize("name", ["模型", "модель", "café", "🐈 cat"])
def test_names_of_any_language_in_any_locale(name: str, folder: Path) -> None:
    (folder / "tiny.onnx").rename(folder / f"{name}.onnx")
    for locale in ("C", "C.UTF-8", "POSIX"):
        done = shell(folder, f"LC_ALL={locale} deploykit predict '{name}.onnx' a.png --save '{name}'")
        assert done.returncode == 0, done.stderr
    assert len(list((folder / name).iterdir())) == 3
