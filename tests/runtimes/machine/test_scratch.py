"""Folders for unfinished work: whose they are, and who may clear them away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deploykit_runtimes.machine import scratch
from deploykit_runtimes.machine.scratch import LOCK, discard_scratch, in_scratch, scratch_folder, sweep

HOLD = """
import sys
from deploykit_runtimes.machine.scratch import scratch_folder
with scratch_folder(sys.argv[1], "model.onnx") as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "half").write_text("half")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that works in a folder of its own until its input ends."""
    command = [sys.executable, "-c", HOLD, str(parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_it_is_gone_afterwards(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_it_lies_among_the_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.parent == tmp_path


def test_the_next_run_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    with holding(tmp_path) as (process, folder):
        sweep(tmp_path)
        assert (folder / "deep" / "half").read_text() == "half", "its process is alive"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder.is_dir()
        with scratch_folder(tmp_path) as other:
            assert {path.name for path in tmp_path.iterdir()} == {other.name}


def test_a_folder_of_this_process_is_not_swept(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        sweep(tmp_path)
        assert folder.is_dir()


def test_what_is_not_ours_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [tmp_path / ".theirs.0123abcd.part", tmp_path / "notes.0123abcd.part", tmp_path / ".x.part"]
    for folder in kept:
        folder.mkdir()
        (folder / "work").write_text("")
    (kept[1] / LOCK).write_text("")  # not a name of ours
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / LOCK).write_text("")
    (tmp_path / ".link.0123abcd.part").symlink_to(outside)
    (tmp_path / ".file.0123abcd.part").write_text("")
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    stale = tmp_path / ".model.0123abcd.part"
    stale.mkdir()
    (stale / LOCK).write_text("")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)  # another user's
    sweep(tmp_path)
    assert stale.is_dir()
    monkeypatch.undo()
    sweep(tmp_path)
    assert not stale.exists()


def test_links_in_a_dead_folder_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    stale = tmp_path / ".model.0123abcd.part"
    stale.mkdir()
    (stale / LOCK).write_text("")
    (stale / "link").symlink_to(precious)
    sweep(tmp_path)
    assert list(tmp_path.rglob("*")) == [precious, precious / "file"]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_locked", lambda _: None)
    with scratch_folder(tmp_path) as folder:
        sweep(tmp_path)
        assert folder.is_dir(), "what cannot be known to be dead stays"
    assert list(tmp_path.iterdir()) == []


def test_all_of_a_process_can_go_at_once(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as one, scratch_folder(tmp_path):
        (one / "file").write_text("")
        discard_scratch()
        assert list(tmp_path.iterdir()) == []


def test_paths_are_known_as_ours() -> None:
    assert in_scratch("/a/.model.onnx.0123abcd.part/model.onnx")
    assert in_scratch(b".model.onnx.0123abcd.part")
    assert not in_scratch("/a/model.onnx")
    assert not in_scratch(7)


def test_a_folder_that_was_removed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is still the working folder, and is a folder to all who ask; nothing can be created in it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError), scratch_folder("."):
        pytest.fail("a folder was created in one that is gone")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc: run it on Linux")
def test_a_file_system_that_takes_no_folders_is_an_error() -> None:
    with pytest.raises(OSError, match="/proc"), scratch_folder("/proc"):
        pytest.fail("a folder was created in /proc")
