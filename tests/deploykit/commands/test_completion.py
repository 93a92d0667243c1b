"""Completion in shells that really run."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deploykit.cli import COMMANDS, main

CASES = [
    (["pre"], "predict"),
    (["predict", "best.onnx", "cat.jpg", "--runtime", "ort-cu"], "ort-cuda"),
    (["predict", "best.onnx", "cat.jpg", "--outputs", "yolov7"], "yolov7-end2end"),
    (["predict", "--no", "best.onnx", "--on"], "--only-new"),
    (["predict", "best.onnx", "--goal", "thr"], "throughput"),
    (["bench", "best.onnx", "--runtime", "ort-cpu,ov-n"], "ort-cpu,ov-npu"),
    (["build", "best.onnx", "--runtime", "trt-"], "trt-rtx"),
    (["package", "tri"], "triton"),
    (["package", "docker", "best.onnx", "--device", "cu"], "cuda"),
    (["export", "best.pt", "--dynamic", "batch,hei"], "batch,height"),
    (["export", "best.pt", "--family", "eff"], "efficientnet"),
    (["verify", "best.pt", "best.onnx", "--head-"], "--head-activation"),
    (["completion", "fi"], "fish"),
]
"""What is typed, and what the last word becomes."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with ``deploykit`` on its PATH, and files to complete."""
    program = tmp_path / "bin" / "deploykit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m deploykit "$@"\n')
    program.chmod(0o755)
    (tmp_path / "somewhere.onnx").write_bytes(b"")
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "HOME": str(home), "PATH": path, "TERM": "dumb", "PS1": "$ "}


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(home: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=home, env=environment(home), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_bash_completes(home: Path) -> None:
    """Through the function that its script registers, with the words as bash splits them."""
    lines = ['eval "$(deploykit completion bash)"', "complete -p deploykit >/dev/null || exit 9"]
    for words, _ in CASES:
        quoted = " ".join(map(shlex.quote, ["deploykit", *words]))
        lines.append(
            f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; COMPREPLY=(); "
            "_deploykit_completion deploykit; "
            'echo "${COMPREPLY[*]}"'
        )
    found = run(home, shell("bash"), "--norc", "-c", "\n".join(lines)).splitlines()
    assert found == [wanted for _, wanted in CASES]


def test_fish_completes(home: Path) -> None:
    lines = ["deploykit completion fish | source"]
    for words, _ in CASES:
        lines += [f"complete -C {shlex.quote(shlex.join(['deploykit', *words]))} | cut -f1; echo ."]
    found = run(home, shell("fish"), "--no-config", "-c", "\n".join(lines)).split(".\n")
    for (words, wanted), given in zip(CASES, found[: len(CASES)], strict=True):
        assert wanted in given.split("\n"), words


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: Sequence[str], home: Path) -> None:
        self.pid, self.side = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execve(command[0], [*command], environment(home))
        self.text = ""

    def type(self, text: str) -> None:
        self.text = ""
        os.write(self.side, text.encode())

    def shows(self, wanted: str) -> None:
        """Wait until a text is on the terminal."""
        end = time.monotonic() + 100
        while wanted not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", self.text):
            ready, _, _ = select.select([self.side], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {wanted!r} in {self.text!r}"
            self.text += os.read(self.side, 4096).decode(errors="replace")

    def close(self) -> None:
        os.close(self.side)
        os.waitpid(self.pid, 0)


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, home: Path) -> Iterator[Terminal]:
    name = str(request.param)
    options = {"bash": ["--norc", "-i"], "zsh": ["-f", "-i"]}[name]
    opened = Terminal([shell(name), *options], home)
    begin = {"bash": "", "zsh": "autoload -Uz compinit && compinit -u && "}[name]
    opened.type(f'{begin}eval "$(deploykit completion {name})" && echo re""ady\n')
    opened.shows("ready\n")
    yield opened
    opened.close()


def test_the_tab_key(terminal: Terminal) -> None:
    for words, wanted in CASES[:3]:
        terminal.type(f"deploykit {shlex.join(words)}\t")
        terminal.shows(wanted)
        terminal.type("\x15")  # Ctrl-U: an empty line
    terminal.type("deploykit inspect somewh\t")
    terminal.shows("somewhere.onnx")
    terminal.type("\x15")


def complete(home: Path, words: str, program: str = "-m deploykit") -> str:
    env = {**environment(home), "_DEPLOYKIT_COMPLETE": "bash_complete", "COMP_WORDS": words}
    count = str(len(words.split()) - (not words.endswith(" ")))
    done = subprocess.run(
        [sys.executable, *shlex.split(program)],
        env={**env, "COMP_CWORD": count},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_come_from_the_table(home: Path) -> None:
    assert complete(home, "deploykit ").splitlines() == [f"plain,{name}" for name in COMMANDS]
    assert "plain,--version" in complete(home, "deploykit --").splitlines()
    assert complete(home, "deploykit nonsense --x").strip() == ""


@pytest.mark.parametrize(
    "words",
    ["deploykit ", "deploykit export x.pt --d", "deploykit predict m.onnx --runtime ", "deploykit bench "],
)
def test_completing_loads_nothing_heavy(home: Path, words: str) -> None:
    look = (
        "-c \"import sys, atexit; from deploykit.cli import main; sys.argv = ['deploykit']\n"
        "heavy = ('torch', 'onnx', 'onnxruntime', 'numpy', 'PIL')\n"
        "try: main()\n"
        'except SystemExit: print([name for name in heavy if name in sys.modules])"'
    )
    assert complete(home, words, look).splitlines()[-1] == "[]"


def test_the_script_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["shell"] == "bash"
    assert "_DEPLOYKIT_COMPLETE=bash_complete" in data["script"]
    assert main(["completion", "powershell"]) == 2
    assert "bash" in capsys.readouterr().err
