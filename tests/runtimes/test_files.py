"""Files written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import atomic_path, check_target, sha256_of


def test_success_renames_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "model.onnx"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".onnx"
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
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(target) as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))
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


def test_sha256_of(tmp_path: Path) -> None:
    data = b"x" * (2 << 20) + b"tail"
    (tmp_path / "big").write_bytes(data)
    assert sha256_of(tmp_path / "big") == hashlib.sha256(data).hexdigest()
