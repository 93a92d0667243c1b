"""A writer that is killed between any two of its calls of the system, one after the other."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deploykit_runtimes.machine.scratch import sweep

# Python tells an audit hook of whatever changes a file system, just before it does.
WRITER = """
import os, signal, sys
from pathlib import Path
from deploykit_runtimes import files
from deploykit_runtimes.files import atomic_folder, atomic_path, gathered

left = int(sys.argv[1])

def watch(event, arguments):
    global left
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "swap"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

exchange = files._exchange

def told(*paths):
    sys.audit("swap")
    done = exchange(*paths)
    sys.audit("swap")
    return done

files._exchange = told
sys.addaudithook(watch)
target = Path(sys.argv[3])
if sys.argv[2] == "file":
    with atomic_path(target / "model.onnx") as draft:
        draft.write_bytes(b"new" * 1000)
elif sys.argv[2] == "folder":
    with atomic_folder(target) as draft:
        (draft / "model.onnx").write_bytes(b"new" * 1000)
        (draft / "key.json").write_bytes(b"new")
else:
    with gathered(target) as draft:
        (draft / "model.onnx").write_bytes(b"new" * 1000)
"""


@pytest.mark.parametrize("kind", ["file", "folder", "gathered"])
@pytest.mark.parametrize("before", ["old", "nothing"])
def test_old_or_new_and_nothing_else(kind: str, before: str, tmp_path: Path) -> None:
    target = tmp_path / "place" / "target"
    old = {"model.onnx": b"old"} if before == "old" else {}
    new = {"model.onnx": b"new" * 1000} | ({"key.json": b"new"} if kind == "folder" else {})
    for number in range(1, 200):
        if target.exists():
            for path in target.iterdir():
                path.unlink()
        if old:
            target.mkdir(parents=True, exist_ok=True)
            (target / "model.onnx").write_bytes(b"old")
        command = [sys.executable, "-c", WRITER, str(number), kind, str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        for folder in (target.parent, target):
            if folder.is_dir():
                sweep(folder)
        places = (
            [path for path in target.parent.rglob("*") if path != target] if target.parent.exists() else []
        )
        found = {path.name: path.read_bytes() for path in places}
        assert all(path.parent == target for path in places), places
        assert found in (old, new), number
        if done.returncode == 0:
            assert found == new
            break
    else:
        raise AssertionError("the writer never came to its end")
    assert number > 5, "it was killed at several places"
