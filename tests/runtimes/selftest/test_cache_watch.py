"""Engines that are compiled into a cache while a model is opened, by OpenVINO for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.builds.caches import cache_beside
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.machine.engine_cache import KEY_FILE
from deploykit_runtimes.open import open_runner
from wrong_engines import planted


@pytest.fixture(scope="module")
def right(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("right") / "digits.onnx"
    export(golden.parent / "fixtures" / "trained" / "vit.pth.tar", ExportOptions(output=path, witness=False))
    return path


@pytest.fixture
def wrong(right: Path, tmp_path: Path) -> Path:
    """A file whose graph does not give the answers of its golden cases."""
    return planted(right, "one bias", tmp_path / "wrong.onnx")


def kept(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.name != KEY_FILE}


def test_what_was_built_is_not_tested_again(wrong: Path) -> None:
    build_engine(wrong, runtime="ov-cpu")
    before = kept(cache_beside(wrong, "ov-cpu"))
    assert before
    open_runner(wrong, runtime="ov-cpu").close()
    assert kept(cache_beside(wrong, "ov-cpu")) == before


def test_what_is_compiled_again_is_tested(wrong: Path, right: Path, tmp_path: Path) -> None:
    """As after an update of the engine, whose entry in the cache does not fit any more."""
    for model in (wrong, right):
        build_engine(model, runtime="ov-cpu")
        cache = cache_beside(model, "ov-cpu")
        for name in kept(cache):
            (cache / name).unlink()
    with pytest.raises(ParityError, match="self-test failed on openvino"):
        open_runner(wrong, runtime="ov-cpu")
    assert kept(cache_beside(wrong, "ov-cpu")) == set()
    assert (cache_beside(wrong, "ov-cpu") / KEY_FILE).is_file()
    open_runner(right, runtime="ov-cpu").close()
    assert kept(cache_beside(right, "ov-cpu"))


def test_a_new_cache_is_tested_unless_told_otherwise(wrong: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(ParityError):
        open_runner(wrong, runtime="ov-cpu", cache=cache)
    assert kept(cache) == set()
    open_runner(wrong, runtime="ov-cpu", cache=cache, selftest=False).close()
    assert kept(cache)


def test_engines_without_a_cache_are_not_tested(wrong: Path, tmp_path: Path) -> None:
    open_runner(wrong, runtime="ov-cpu").close()
    open_runner(wrong, runtime="ort-cpu", cache=tmp_path / "cache").close()


def test_a_file_without_golden_cases_has_none_to_run(
    write_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    open_runner(write_classifier(), runtime="ov-cpu", cache=tmp_path / "cache").close()
    assert kept(tmp_path / "cache")
