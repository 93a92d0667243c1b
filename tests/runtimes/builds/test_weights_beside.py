"""Builds of models whose weights lie beside them, as those of models above 2 GB do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.build_options import BuildOptions
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.builds.caches import build_key, cache_beside
from deploykit_runtimes.errors import ModelError, RuntimeUnavailableError
from deploykit_runtimes.open import open_runner

IMAGES = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)


@pytest.fixture
def large(write_classifier: Callable[..., Path], tmp_path: Path) -> Path:
    path = tmp_path / "large" / "model.onnx"
    path.parent.mkdir()
    model = onnx.load(write_classifier())
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def double(model: Path) -> None:
    """Other weights: each logit becomes twice what it was. The graph stays byte for byte."""
    weights = model.with_name("weights.bin")
    weights.write_bytes((2 * np.frombuffer(weights.read_bytes(), np.float32)).tobytes())


def answers(path: Path, runtime: str = "ov-cpu") -> np.ndarray:
    with open_runner(path, runtime=runtime) as runner:
        return runner.infer({"images": IMAGES})["logits"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_holds_all_of_the_model(large: Path, tmp_path: Path) -> None:
    built = tmp_path / "built"
    options = BuildOptions(output=built)
    result = build_engine(large, runtime="ov-cpu", options=options)
    assert {path.name for path in built.iterdir()} == {"model.onnx", "weights.bin", "model.ov-cpu.cache"}
    assert {built / "model.onnx", built / "weights.bin"} <= set(result.files)
    large.rename(large.with_name("gone"))
    large.with_name("weights.bin").unlink()
    for runtime in ("ov-cpu", "ort-cpu"):
        np.testing.assert_allclose(answers(built, runtime), IMAGES.mean((2, 3)), atol=1e-6)


def test_changed_weights_are_another_model(large: Path, tmp_path: Path) -> None:
    options = BuildOptions(output=tmp_path / "built")
    build_engine(large, runtime="ov-cpu", options=options)
    assert build_engine(large, runtime="ov-cpu", options=options).reused
    key = build_key(large, "ov-cpu", options)
    double(large)
    assert build_key(large, "ov-cpu", options)["model"] != key["model"]
    again = build_engine(large, runtime="ov-cpu", options=options)
    assert (again.reused, again.reason) == (False, "it was built for another model")
    np.testing.assert_allclose(answers(tmp_path / "built"), 2 * IMAGES.mean((2, 3)), atol=1e-6)


def test_a_cache_never_answers_for_other_weights(large: Path) -> None:
    build_engine(large, runtime="ov-cpu")
    assert cache_beside(large, "ov-cpu").is_dir()
    double(large)
    np.testing.assert_allclose(answers(large), 2 * IMAGES.mean((2, 3)), atol=1e-6)


@pytest.mark.parametrize("missing", ["model.onnx", "weights.bin"])
def test_a_copy_that_is_not_whole_is_made_again(missing: str, large: Path, tmp_path: Path) -> None:
    options = BuildOptions(output=tmp_path / "built")
    build_engine(large, runtime="ov-cpu", options=options)
    (tmp_path / "built" / missing).unlink()
    assert not build_engine(large, runtime="ov-cpu", options=options).reused
    np.testing.assert_allclose(answers(tmp_path / "built"), IMAGES.mean((2, 3)), atol=1e-6)


def test_a_failed_build_leaves_the_folder_as_it_was(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openvino.Core.available_devices", ["CPU"])
    built = tmp_path / "built"
    with pytest.raises(RuntimeUnavailableError):
        build_engine(large, runtime="ov-gpu", options=BuildOptions(output=built))
    assert not built.exists()
    build_engine(large, runtime="ov-cpu", options=BuildOptions(output=built))
    before = contents(built)
    double(large)
    with pytest.raises(RuntimeUnavailableError):
        build_engine(large, runtime="ov-gpu", options=BuildOptions(output=built))
    assert contents(built) == before


def test_missing_weights_are_told_before_anything_is_written(large: Path, tmp_path: Path) -> None:
    large.with_name("weights.bin").unlink()
    with pytest.raises(ModelError, match=r"keeps its weights in weights\.bin, and .* does not exist"):
        build_engine(large, runtime="ov-cpu", options=BuildOptions(output=tmp_path / "built"))
    assert not (tmp_path / "built").exists()
