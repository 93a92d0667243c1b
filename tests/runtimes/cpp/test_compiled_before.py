"""What a consumer's build takes from the library's: only what the same compiler made of the same files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "compiled_before.py"
FLAGS = ["-DNAME=1", "-O1", "-Wall"]


def sources(root: Path, answer: int = 1) -> Path:
    (root / "src").mkdir(parents=True)
    (root / "include").mkdir()
    (root / "include" / "answer.hpp").write_text(f"inline int answer() {{ return {answer}; }}\n")
    path = root / "src" / "one.cpp"
    path.write_text('#include "answer.hpp"\nint one() { return answer(); }\n')
    return path


def command(source: Path, *flags: str) -> list[str]:
    return ["c++", f"-I{source.parents[1] / 'include'}", *flags, "-o", "one.o", "-c", str(source)]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build that has compiled one file with FLAGS and a warning as an error."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler is installed: apt-get install g++")
    source, folder = sources(tmp_path / "library"), tmp_path / "build"
    folder.mkdir()
    words = command(source, *FLAGS, "-Werror")
    subprocess.run(words, cwd=folder, check=True)
    entry = {"directory": str(folder), "command": " ".join(words), "file": str(source), "output": "one.o"}
    (folder / "compile_commands.json").write_text(json.dumps([entry]))
    (folder / "one.o").write_bytes((folder / "one.o").read_bytes() + b"of the build")
    return folder


@pytest.mark.parametrize(
    ("answer", "flags", "taken"),
    [
        (1, FLAGS, True),
        (1, ["-DNAME=1", "-O1"], True),
        (1, ["-DNAME=2", "-O1"], False),
        (1, ["-DNAME=1", "-O2"], False),
        (1, [], False),
        (2, FLAGS, False),
    ],
)
def test_an_object_is_taken_where_all_is_the_same(
    answer: int, flags: list[str], taken: bool, build: Path, tmp_path: Path
) -> None:
    words = command(sources(tmp_path / "copy" / "of", answer), *flags, "-MD", "-MT", "one.o", "-MF", "one.d")
    log = tmp_path / "log"
    subprocess.run([sys.executable, "-SE", SCRIPT, build, log, *words], cwd=tmp_path, check=True)
    assert (tmp_path / "one.o").read_bytes().endswith(b"of the build") is taken
    assert (tmp_path / "one.d").read_text().startswith("one.o:")
    assert log.exists() is taken
