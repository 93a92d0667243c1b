"""Which file of a built folder a runtime opens, and what describes the model without an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deploykit_runtimes.builds.model_folder import file_for_runtime, model_file, read_model
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.open import open_runner

Writer = Callable[..., Path]


def test_a_runtime_opens_its_own_engine_or_else_the_model(write_classifier: Writer) -> None:
    model = write_classifier()
    folder = model.parent
    engine = folder / "model.trt.engine"
    engine.write_bytes(b"plan")
    assert file_for_runtime(folder, "trt") == engine
    assert file_for_runtime(folder, "trt-rtx") == file_for_runtime(folder, "ort-cpu") == model
    assert file_for_runtime(str(model), "trt") == model
    assert model_file(folder) == model
    with open_runner(folder) as runner:
        assert runner.spec == read_model(folder).spec()


def test_folders_with_no_or_several_models_are_told(write_classifier: Writer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="without a model for trt"):
        file_for_runtime(tmp_path / "empty", "trt")
    folder = write_classifier(name="a.onnx").parent
    write_classifier(name="b.onnx")
    for look in (model_file, lambda path: file_for_runtime(path, "ov-cpu")):
        with pytest.raises(ModelError, match=r"several models: a\.onnx, b\.onnx"):
            look(folder)


@pytest.mark.parametrize("suffix", [".engine", ".plan", ".trt"])
def test_engines_are_for_tensorrt(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"plan")
    assert file_for_runtime(path, "trt-rtx") == path
    with pytest.raises(OptionError, match="ov-cpu opens ONNX files"):
        file_for_runtime(path, "ov-cpu")
    with pytest.raises(ModelError, match=rf"no description beside it \(m{suffix}\.json\)"):
        read_model(path)
