"""Caches built ahead of time, with OpenVINO for real."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.build_options import BuildOptions, BuildReport
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.builds.caches import cache_beside
from deploykit_runtimes.builds.model_folder import model_file
from deploykit_runtimes.errors import ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.machine.engine_cache import KEY_FILE
from deploykit_runtimes.open import open_runner

Writer = Callable[..., Path]


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_what_was_built_beside_the_model_is_used(write_classifier: Writer) -> None:
    model = write_classifier()
    steps: list[str] = []
    result = build_engine(model, runtime="ov", report=BuildReport(step=steps.append))
    assert (result.runtime, result.path, result.reused) == ("ov-cpu", model, False)
    assert any(path.suffix == ".blob" for path in result.files)
    assert result.facts["precision"] == "fp32"
    assert steps == ["Compiling for ov-cpu"]
    before = times(cache_beside(model, "ov-cpu"))
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    with open_runner(model, runtime="ov-cpu") as runner:
        np.testing.assert_allclose(runner.infer({"images": images})["logits"], images.mean((2, 3)), atol=1e-6)
    assert times(cache_beside(model, "ov-cpu")) == before


def test_a_folder_holds_model_and_engine(write_classifier: Writer, tmp_path: Path) -> None:
    built = tmp_path / "built"
    result = build_engine(write_classifier(), runtime="ov-cpu", options=BuildOptions(output=built))
    assert result.path == built
    assert {path.name for path in built.iterdir()} == {"model.onnx", "model.ov-cpu.cache"}
    for runtime in ("ov-cpu", "ort-cpu"):
        open_runner(built, runtime=runtime).close()


def test_what_fits_is_kept_and_what_does_not_is_built_again(write_classifier: Writer) -> None:
    model = write_classifier()
    build_engine(model, runtime="ov-cpu")
    assert build_engine(model, runtime="ov-cpu").reused
    assert not build_engine(model, runtime="ov-cpu", options=BuildOptions(force=True)).reused
    again = build_engine(model, runtime="ov-cpu", options=BuildOptions(precision="auto"))
    assert again.reason == "it was built for another precision"
    write_classifier(metadata={"note": "changed"})
    assert (
        "another model"
        in build_engine(model, runtime="ov-cpu", options=BuildOptions(precision="auto")).reason
    )
    (cache_beside(model, "ov-cpu") / KEY_FILE).write_text(json.dumps([1]))
    assert "damaged" in build_engine(model, runtime="ov-cpu").reason


def test_a_failed_build_leaves_nothing(write_classifier: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_classifier()
    monkeypatch.setattr("openvino.Core.available_devices", ["CPU"])
    with pytest.raises(RuntimeUnavailableError):
        build_engine(model, runtime="ov-gpu")
    assert list(model.parent.iterdir()) == [model]


@pytest.mark.parametrize(
    "options", [{"shapes": ("images:1x3x8x8",)}, {"strip_weights": True}, {"output": Path("out.onnx")}]
)
def test_what_it_cannot_follow_is_refused(write_classifier: Writer, options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="ov-cpu"):
        build_engine(write_classifier(), runtime="ov-cpu", options=BuildOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_server_that_runs_as_another_user_can_read_what_was_built(
    umask: int, write_classifier: Writer, tmp_path: Path
) -> None:
    """OpenVINO's blobs had the mode 0440: root builds an image, and the server in it is somebody else."""
    built = tmp_path / "built"
    before = os.umask(umask)
    try:
        result = build_engine(write_classifier(), runtime="ov-cpu", options=BuildOptions(output=built))
    finally:
        os.umask(before)
    assert result.built == built / "model.ov-cpu.cache"
    assert any(path.suffix == ".blob" for path in result.files)
    for path in (result.built, *result.built.rglob("*")):
        wanted = 0o755 if path.is_dir() else 0o644
        assert path.stat().st_mode & 0o777 == wanted


def test_a_cache_stands_for_the_model_beside_it(write_classifier: Writer) -> None:
    model = write_classifier()
    cache = build_engine(model, runtime="ov-cpu").built
    assert model_file(cache) == model
    open_runner(cache, runtime="ov-cpu").close()
    model.rename(model.with_name("other.onnx"))
    with pytest.raises(ModelError, match="not beside it"):
        model_file(cache)
