"""Files written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import (
    atomic_folder,
    atomic_path,
    copied,
    room_for,
    sha256_of,
    write_target,
)
from deploykit_runtimes.targets import check_target


def test_success_renames_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "model.onnx"
    with atomic_path(target) as temporary:
        assert temporary.parent.parent == target.parent
        assert temporary.name == "model.onnx"
        temporary.write_bytes(b"model")
        assert not target.exists()
    assert target.read_bytes() == b"model"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_keeps_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is a folder"), atomic_path(tmp_path):
        raise AssertionError("not reached")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "deep" / "model.onnx"
    with pytest.raises(OptionError, match="is a file, not a folder"), atomic_path(target):
        raise AssertionError("not reached")
    with pytest.raises(OptionError, match="is a file, not a folder"):
        check_target(target)


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OptionError, match="not writable") as caught:
        check_target(tmp_path / "new" / "model.onnx")
    assert str(tmp_path) in caught.value.problem
    assert list(tmp_path.iterdir()) == []


def test_new_folders_go_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), atomic_path(tmp_path / "new" / "folder" / "model.onnx"):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_target(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    free = r"No space left on device, [\d.]+ .B free"
    with pytest.raises(OSError, match=free) as caught, atomic_path(target) as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))
    assert caught.value.filename == str(target)
    wanted = r"No space left on device, 2\.5 MB wanted, [\d.]+ .B free"
    with (
        pytest.raises(OSError, match=wanted) as caught,
        atomic_path(target) as temporary,
        room_for(2_500_000),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", "source", None, str(temporary))
    assert caught.value.filename == str(target)
    with pytest.raises(OptionError, match=r"model\.onnx cannot be written"), atomic_path(target) as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))
    with pytest.raises(FileNotFoundError, match="other"), atomic_path(target):
        raise FileNotFoundError(errno.ENOENT, "No such file", "other")


def test_two_writers_do_not_share_a_temporary(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.json") as first, atomic_path(tmp_path / "a.json") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a.json").read_text() == "1"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660, 0o755])
def test_a_file_that_is_replaced_leaves_its_mode_and_owner(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    target.chmod(mode)
    if os.geteuid() == 0:
        os.chown(target, 12345, 54321)
    before = target.stat()
    write_target(target, b"new")
    after = target.stat()
    assert target.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_follows_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_target(tmp_path / "a", "text")
        with atomic_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o777 & ~mask


def test_what_lies_beside_the_draft_comes_along(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "model.onnx") as draft:
        draft.write_bytes(b"graph")
        draft.with_name("model.onnx.data").write_bytes(b"weights")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    with pytest.raises(ValueError, match="no"), atomic_path(tmp_path / "other.onnx") as draft:
        draft.with_name("other.onnx.data").write_bytes(b"weights")
        raise ValueError("no")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}


@pytest.mark.parametrize("length", [200, 255])
@pytest.mark.parametrize("letter", ["m", "\N{CJK UNIFIED IDEOGRAPH-6A21}"])
def test_long_names(tmp_path: Path, letter: str, length: int) -> None:
    target = tmp_path / (letter * (length // len(letter.encode())))
    write_target(target, b"model")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:  # as on a file system without it
        monkeypatch.setattr("deploykit_runtimes.files._exchange", lambda *_: False)
    target = tmp_path / "cache"
    target.mkdir()
    (target / "old").write_text("")
    with pytest.raises(ValueError, match="no"), atomic_folder(target) as draft:
        (draft / "half").write_text("")
        raise ValueError("no")
    assert [path.name for path in target.iterdir()] == ["old"]
    with atomic_folder(target) as draft:
        (draft / "new").write_text("")
        assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_copies_go_again_where_they_were_not_before(tmp_path: Path) -> None:
    source, target, other = tmp_path / "source", tmp_path / "built" / "model", tmp_path / "built" / "b" / "w"
    source.write_bytes(b"model")
    wanted = {target: source, other: source}
    with pytest.raises(ValueError, match="no"), copied(wanted):
        assert target.read_bytes() == other.read_bytes() == b"model"
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == [source]
    with copied(wanted):
        pass
    source.write_bytes(b"newer")
    with pytest.raises(ValueError, match="no"), copied(wanted):
        assert target.read_bytes() == other.read_bytes() == b"newer"
        raise ValueError("no")
    assert target.read_bytes() == other.read_bytes() == b"model"
    assert {path.name for path in tmp_path.rglob("*")} == {"source", "built", "model", "b", "w"}


def test_copies_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match="no"), copied({target: source}):
        assert target.read_bytes() == b"new"
        raise ValueError("no")
    assert target.read_bytes() == b"old"


def test_sha256_of(tmp_path: Path) -> None:
    data = b"x" * (2 << 20) + b"tail"
    (tmp_path / "big").write_bytes(data)
    assert sha256_of(tmp_path / "big") == hashlib.sha256(data).hexdigest()
