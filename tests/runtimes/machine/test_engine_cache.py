"""Engines on disk: whole or not at all, and only under their own key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.machine.engine_cache import KEY_FILE, cache_folder, default_cache

KEY = {"model": "abc", "gpu": "NVIDIA L4", "profile": ["images:1x3x8x8"]}


def build(root: Path, key: dict[str, object], content: str) -> Path:
    with cache_folder(root, key) as folder:
        engine = folder / "engine"
        if not engine.exists():
            engine.write_text(content)
        return folder


def test_an_engine_is_built_once_and_found_again(tmp_path: Path) -> None:
    build(tmp_path, KEY, "first")
    with cache_folder(tmp_path, dict(reversed(KEY.items()))) as folder:
        assert (folder / "engine").read_text() == "first"
        assert json.loads((folder / KEY_FILE).read_text()) == KEY
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", KEY)
def test_anything_else_is_another_engine(tmp_path: Path, name: str) -> None:
    build(tmp_path, KEY, "first")
    with cache_folder(tmp_path, {**KEY, name: "other"}) as folder:
        assert not (folder / "engine").exists()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), cache_folder(tmp_path, KEY) as folder:
        (folder / "engine").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_of_two_builders_the_first_one_to_finish_publishes(tmp_path: Path) -> None:
    with cache_folder(tmp_path, KEY) as slow:
        (slow / "engine").write_text("slow")
        with cache_folder(tmp_path, KEY) as fast:
            assert fast != slow
            (fast / "engine").write_text("fast")
    with cache_folder(tmp_path, KEY) as folder:
        assert (folder / "engine").read_text() == "fast"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="cannot be written"), cache_folder(tmp_path / "file", KEY):
        pass


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEPLOYKIT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "deploykit"
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"


@pytest.mark.parametrize("options", [{"threads": 0}, {"goal": "speed"}, {"precision": "fp16"}, {"gpu": -1}])
def test_engine_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        EngineOptions(**options)  # type: ignore[arg-type]
