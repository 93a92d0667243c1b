"""Nothing in a folder is skipped in silence."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from deploykit.evaluation.data.files import other_files, pictures_in


def test_pictures_that_other_loaders_count_are_listed(tmp_path: Path) -> None:
    for name in ("a.JPG", "b.heic", "c.mpo", "deep/d.png", "e.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert {path.name for path in pictures_in(tmp_path)} == {"a.JPG", "b.heic", "c.mpo", "d.png"}
    assert other_files([tmp_path]) == []


def test_other_files_are_told(tmp_path: Path) -> None:
    for name in ("a.png", "b", "c.xyz", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    (note,) = other_files([tmp_path])
    assert note.startswith("2 files")
    assert "b, c.xyz" in note


def test_folders_that_are_links_are_followed_once(tmp_path: Path) -> None:
    real, root = tmp_path / "real", tmp_path / "root"
    real.mkdir()
    root.mkdir()
    Image.new("RGB", (4, 4)).save(real / "a.png")
    (root / "linked").symlink_to(real)
    (real / "up").symlink_to(root)  # a circle
    assert [path.name for path in pictures_in(root)] == ["a.png"]
