"""When a picture in a folder that fills is complete, over a clock that the test moves."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from deploykit.prediction import watching
from deploykit.prediction.watching import FolderWatch, quiet_leases

SUFFIXES = {".jpg", ".png"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "incoming"
    path.mkdir()
    return path


def names(watch: FolderWatch, clock: Clock, after: float = 1.0) -> list[str]:
    """What is handed out after a time, and marked as answered."""
    clock.now += after
    found = watch.look()
    for path in found:
        watch.done(path)
    return [path.name for path in found]


def test_what_is_there_comes_first_in_natural_order_and_once(folder: Path, clock: Clock) -> None:
    for name in ("img10.jpg", "img2.JPG", "notes.txt", ".hidden.jpg", "empty.jpg"):
        (folder / name).write_bytes(b"" if name == "empty.jpg" else b"data")
    (folder / "sub.jpg").mkdir()
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    assert names(watch, clock) == [], "seen once, it may still grow"
    assert names(watch, clock) == ["img2.JPG", "img10.jpg"]
    assert names(watch, clock) == []
    (folder / "empty.jpg").write_bytes(b"now")
    assert names(watch, clock) == []
    assert names(watch, clock) == ["empty.jpg"]


def test_only_what_is_new(folder: Path, clock: Clock) -> None:
    (folder / "old.jpg").write_bytes(b"old")
    watch = FolderWatch(folder, SUFFIXES, skip=True, clock=clock)
    watch.look()
    (folder / "new.jpg").write_bytes(b"new")
    assert names(watch, clock) == []
    assert names(watch, clock) == ["new.jpg"]
    (folder / "old.jpg").write_bytes(b"written again")
    assert names(watch, clock) == []
    assert names(watch, clock) == ["old.jpg"]


def test_a_file_that_grows_is_waited_for(folder: Path, clock: Clock) -> None:
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    for length in range(1, 5):
        (folder / "slow.jpg").write_bytes(b"x" * length)
        assert names(watch, clock, after=9.0) == []
    assert names(watch, clock) == ["slow.jpg"]


def test_a_file_that_is_open_for_writing_is_waited_for(folder: Path, clock: Clock) -> None:
    path = folder / "stalled.jpg"
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    with quiet_leases(), path.open("wb") as file:
        file.write(b"half")
        file.flush()
        if not watching._is_being_written(path):
            pytest.skip("this file system grants no leases")
        assert names(watch, clock) == []
        assert names(watch, clock, after=60) == []
    assert names(watch, clock) == ["stalled.jpg"]


def test_an_atomic_rename_gives_one_picture(folder: Path, clock: Clock) -> None:
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    (folder / "a.jpg.part").write_bytes(b"whole")
    assert names(watch, clock) == []
    (folder / "a.jpg.part").rename(folder / "a.jpg")
    assert names(watch, clock) == []
    assert names(watch, clock) == ["a.jpg"]
    (folder / "a.jpg").rename(folder / "b.jpg")
    assert names(watch, clock) == []
    assert names(watch, clock) == [], "it is the same picture"
    (folder / "other").write_bytes(b"another")
    (folder / "other").replace(folder / "b.jpg")
    assert names(watch, clock) == []
    assert names(watch, clock) == ["b.jpg"], "which is a new one"


def test_what_cannot_be_read_gets_a_second_chance(folder: Path, clock: Clock) -> None:
    (folder / "half.jpg").write_bytes(b"half")
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    watch.look()
    clock.now += 1
    (path,) = watch.look()
    assert watch.try_later(path)
    clock.now += 1
    assert watch.look() == []
    clock.now += 10
    assert watch.look() == [path]
    assert not watch.try_later(path)
    watch.done(path)
    path.write_bytes(b"whole at last")
    assert names(watch, clock) == []
    assert names(watch, clock) == ["half.jpg"]


def test_files_that_go_and_change_are_noticed(folder: Path, clock: Clock) -> None:
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"data")
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    watch.look()
    clock.now += 1
    first, second = watch.look()
    assert watch.unchanged(first)
    first.unlink()
    second.write_bytes(b"more data")
    assert not watch.unchanged(first)
    assert not watch.unchanged(second)
    assert names(watch, clock) == []
    assert names(watch, clock) == ["b.jpg"]


def test_a_folder_that_vanishes_is_waited_for(folder: Path, clock: Clock) -> None:
    (folder / "a.jpg").write_bytes(b"data")
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    names(watch, clock)
    assert names(watch, clock) == ["a.jpg"]
    away = folder.rename(folder.with_name("away"))
    assert (names(watch, clock), watch.missing) == ([], True)
    away.rename(folder)
    assert (names(watch, clock), watch.missing) == ([], False), "what was answered stays so"
    shutil.rmtree(folder)
    assert (names(watch, clock), watch.missing) == ([], True)
    folder.mkdir()
    (folder / "b.jpg").write_bytes(b"data")
    assert (names(watch, clock), watch.missing) == ([], False)
    assert names(watch, clock) == ["b.jpg"]


def test_no_more_is_kept_than_is_there(folder: Path, clock: Clock) -> None:
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    for number in range(20):
        (folder / f"{number}.jpg").write_bytes(b"data")
        names(watch, clock)
        assert names(watch, clock) == [f"{number}.jpg"]
        (folder / f"{number}.jpg").unlink()
    names(watch, clock)
    assert watch._seen == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leases are Linux's")
def test_a_pipe_with_the_name_of_a_picture_blocks_nothing(folder: Path, clock: Clock) -> None:
    os.mkfifo(folder / "pipe.jpg")
    watch = FolderWatch(folder, SUFFIXES, clock=clock)
    names(watch, clock)
    assert names(watch, clock) == []
