"""Which engine a file, engine or folder opens as, when it is built again, and what is said about it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.build_options import BuildOptions, BuildReport
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.trt.engine_file import sidecar_path
from deploykit_runtimes.trt.open import open_trt

Writer = Callable[..., Path]
Machines = Callable[..., Any]

IMAGES = {"images": np.ones((1, 3, 32, 32), np.float32)}


def opened(path: Path, machine: Any, **options: Any) -> list[str]:
    """What is said while a file is opened, and run once."""
    said: list[str] = []
    report = BuildReport(step=said.append)
    with open_trt(path, runtime=machine.runtime, options=EngineOptions(**options), report=report) as runner:
        np.testing.assert_allclose(runner.infer(IMAGES)["logits"], np.ones((1, 3)), rtol=1e-6)
    machine.assert_nothing_left()
    return said


def built(model: Path, machine: Any, **options: Any) -> Path:
    return build_engine(model, runtime=machine.runtime, options=BuildOptions(**options)).path


def test_an_engine_beside_the_model_is_used(machine: Any, write_classifier: Writer) -> None:
    model = write_classifier()
    assert opened(model, machine) == [f"Building an engine with {machine.trt.api and _name(machine)}"]
    engine = built(model, machine)
    assert engine == model.with_name(f"model.{machine.runtime}.engine")
    count = machine.trt.built
    assert opened(model, machine) == []
    assert opened(engine, machine) == []
    assert machine.trt.built == count


def _name(machine: Any) -> str:
    flavour = "tensorrt-rtx" if machine.runtime == "trt-rtx" else "tensorrt"
    return f"{flavour} {machine.trt.__version__}"


def test_a_cache_keeps_what_was_built(machine: Any, write_classifier: Writer, tmp_path: Path) -> None:
    model, cache = write_classifier(), tmp_path / "cache"
    assert opened(model, machine, cache=cache) == [f"Building an engine with {_name(machine)}"]
    assert opened(model, machine, cache=cache) == []
    assert machine.trt.built == 1
    kernels = list(cache.glob("*.kernels"))
    assert len(kernels) == (1 if machine.runtime == "trt-rtx" else 0)
    assert sorted(path.name for path in model.parent.glob("*.engine")) == []


def test_without_a_cache_nothing_is_written(machine: Any, write_classifier: Writer) -> None:
    model = write_classifier()
    opened(model, machine)
    assert list(model.parent.iterdir()) == [model]


def test_a_folder_opens_its_engine(machine: Any, write_classifier: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "built"
    model = write_classifier()
    engine = built(model, machine, output=folder)
    model.unlink()
    assert {path.name for path in folder.iterdir()} == {"model.onnx", engine.name, engine.name + ".json"}
    with open_runner(folder, runtime=machine.runtime) as runner:
        assert runner.infer(IMAGES)["logits"].shape == (1, 3)
    assert machine.trt.built == 1
    with open_runner(folder, runtime="ort-cpu") as runner:
        assert runner.infer(IMAGES)["logits"].shape == (1, 3)


def test_a_changed_model_is_built_again_with_the_options_of_before(
    machine: Any, write_classifier: Writer
) -> None:
    model = write_classifier()
    shapes = "images:1x3x32x32,2x3x32x32,4x3x64x64"
    engine = built(model, machine, shapes=(shapes,), optimization_level=1)
    write_classifier(metadata={"changed": "1"})
    expected = f"Building {engine.name} again: it was built from another version of the model"
    assert opened(model, machine) == [expected]
    assert opened(engine, machine) == []
    key = json.loads(sidecar_path(engine).read_text())["key"]
    assert key["profiles"] == [{"images": [[1, 3, 32, 32], [2, 3, 32, 32], [4, 3, 64, 64]]}]
    assert key["optimization_level"] == 1


def test_another_version_of_tensorrt_builds_again(machine_with: Machines, write_classifier: Writer) -> None:
    model = write_classifier()
    engine = built(model, machine_with("tensorrt-10.16"))
    newer = machine_with("tensorrt-11.4")
    (said,) = opened(engine, newer)
    assert said.endswith("it was built by tensorrt 10.16.1.11, this is tensorrt 11.4.0.106")
    assert opened(engine, newer) == []


def test_another_gpu_builds_again(machine_with: Machines, write_classifier: Writer) -> None:
    model = write_classifier()
    engine = built(model, machine_with(gpu="NVIDIA L4", capability="8.9"))
    (said,) = opened(model, machine_with(gpu="NVIDIA H100", capability="9.0"))
    assert "on NVIDIA L4 (compute capability 8.9), this is NVIDIA H100 (compute capability 9.0)" in said
    assert json.loads(sidecar_path(engine).read_text())["key"]["gpu"] == "NVIDIA H100"


@pytest.mark.parametrize(
    ("compatibility", "gpu", "capability", "fits"),
    [
        ("ampere+", "NVIDIA H100", "9.0", True),
        ("ampere+", "Tesla T4", "7.5", False),
        ("same-capability", "NVIDIA RTX 4090", "8.9", True),
        ("same-capability", "NVIDIA A10", "8.6", False),
    ],
)
def test_compatible_engines_move_between_gpus(
    machine_with: Machines,
    write_classifier: Writer,
    compatibility: Any,
    gpu: str,
    capability: str,
    fits: bool,
) -> None:
    engine = built(write_classifier(), machine_with(gpu="NVIDIA L4"), compatibility=compatibility)
    said = opened(engine, machine_with(gpu=gpu, capability=capability))
    assert (said == []) is fits


def test_version_compatible_engines_allow_their_own_runtime(
    machine_with: Machines, write_classifier: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(write_classifier(), machine_with(), version_compatible=True)
    newer = machine_with()
    newer.trt.__version__ = "10.17.0.1"
    assert opened(engine, newer) == []
    older = machine_with()
    older.trt.__version__ = "10.2.0.1"
    (said,) = opened(engine, older)
    assert "10.16.1.11" in said


def test_rtx_engines_fit_the_capabilities_they_were_built_for(
    machine_with: Machines, write_classifier: Writer
) -> None:
    engine = built(write_classifier(), machine_with("tensorrt-rtx-1.7"), compute_capabilities=("8.6", "8.9"))
    assert opened(engine, machine_with("tensorrt-rtx-1.7", capability="8.6")) == []
    (said,) = opened(engine, machine_with("tensorrt-rtx-1.7", capability="12.0"))
    assert said.endswith("for compute capability 8.6, 8.9, wanted is compute capability 12.0")
    assert opened(engine, machine_with("tensorrt-rtx-1.7", capability="8.9")) == []


def test_turing_is_asked_for_by_name(machine_with: Machines, write_classifier: Writer) -> None:
    model = write_classifier()
    engine = built(model, machine_with("tensorrt-rtx-1.7"))
    assert opened(engine, machine_with("tensorrt-rtx-1.7", capability="12.1")) == []
    (said,) = opened(engine, machine_with("tensorrt-rtx-1.7", capability="7.5"))
    assert said.endswith("for compute capability 8.0 and later, wanted is compute capability 7.5")
    assert json.loads(sidecar_path(engine).read_text())["key"]["capabilities"] == ["7.5"]


def test_a_damaged_plan_is_built_again(machine: Any, write_classifier: Writer) -> None:
    engine = built(write_classifier(), machine)
    data = bytearray(engine.read_bytes())
    data[-1] ^= 1
    engine.write_bytes(data)
    (said,) = opened(engine, machine)
    assert said.endswith("it was built and damaged since")
    assert opened(engine, machine) == []


def test_a_damaged_description_is_told_or_replaced(machine: Any, write_classifier: Writer) -> None:
    model = write_classifier()
    engine = built(model, machine)
    sidecar_path(engine).write_text("{")
    with pytest.raises(ModelError, match="does not describe an engine"):
        opened(engine, machine)
    assert opened(model, machine) == [f"Building an engine with {_name(machine)}"]


def test_what_does_not_fit_and_has_no_model_is_refused(
    machine_with: Machines, write_classifier: Writer
) -> None:
    model = write_classifier()
    engine = built(model, machine_with(gpu="NVIDIA L4"))
    model.unlink()
    assert opened(engine, machine_with(gpu="NVIDIA L4")) == []
    with pytest.raises(RuntimeUnavailableError, match=r"on NVIDIA L4 .* its model model\.onnx is not there"):
        opened(engine, machine_with(gpu="NVIDIA A10"))


def test_weights_come_back_from_the_model(machine: Any, write_classifier: Writer) -> None:
    model = write_classifier()
    engine = built(model, machine, strip_weights=True)
    assert engine.stat().st_size < 1000
    assert opened(engine, machine) == []
    assert machine.trt.built == 1
    model.rename(model.with_name("elsewhere.onnx"))
    with pytest.raises(RuntimeUnavailableError, match="holds no weights"):
        opened(engine, machine)


def test_weights_that_do_not_fit_are_told(machine: Any, write_classifier: Writer) -> None:
    model = write_classifier(metadata={"fake.refit_error": "1"})
    engine = built(model, machine, strip_weights=True)
    with pytest.raises(ModelError, match="do not fit the engine: a weight is missing"):
        opened(engine, machine)


def test_tf32_serves_only_who_accepts_it(machine: Any, write_classifier: Writer) -> None:
    engine = built(write_classifier(), machine, precision="auto")
    with open_trt(engine, runtime=machine.runtime, options=EngineOptions(precision="auto")) as runner:
        assert runner.placement().precision == "tf32"
    (said,) = opened(engine, machine)
    assert said.endswith("with precision auto, wanted is model")
    assert opened(engine, machine, precision="auto") == []


def test_plans_of_other_tools_open_as_they_are(machine: Any, write_classifier: Writer) -> None:
    engine = built(write_classifier(), machine)
    sidecar_path(engine).unlink()
    with open_trt(engine, runtime=machine.runtime) as runner:
        assert runner.spec.inferred
        assert [str(info) for info in runner.inputs] == ["images float32 [batch, 3, height, width]"]
        assert runner.infer(IMAGES)["logits"].shape == (1, 3)
    assert machine.trt.built == 1


def test_files_that_are_no_plans_are_told(machine: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.engine"
    path.write_bytes(b"\x10\0\0\0" + b"x" * 100)
    with pytest.raises((ModelError, RuntimeUnavailableError), match=r"other\.engine"):
        open_trt(path, runtime=machine.runtime)


def test_the_other_flavours_engine_is_named(machine_with: Machines, write_classifier: Writer) -> None:
    engine = built(write_classifier(), machine_with("tensorrt-rtx-1.7"))
    machine_with("tensorrt-10.16")
    with pytest.raises(OptionError, match="built by tensorrt-rtx") as error:
        open_trt(engine, runtime="trt")
    assert error.value.hint == "Open it with --runtime trt-rtx"


def test_other_runtimes_name_who_opens_engines(machine_with: Machines, write_classifier: Writer) -> None:
    engine = built(write_classifier(), machine_with())
    with pytest.raises(OptionError, match="ort-cpu opens ONNX files"):
        open_runner(engine)


def test_a_model_that_tensorrt_does_not_take_names_the_node(machine: Any, write_classifier: Writer) -> None:
    text = '(antialias == 0) && "Antialiasing is not supported currently."'
    model = write_classifier(metadata={"fake.parse_error": text})
    with pytest.raises(ModelError, match=r"node /model/Resize \(Resize\): \(antialias == 0\)") as error:
        open_trt(model, runtime=machine.runtime)
    assert "--preprocess" in error.value.hint


def test_a_build_that_fails_names_the_reason(machine: Any, write_classifier: Writer) -> None:
    problem = "n_NonMaxSuppression_4_0 has no runners that implement it"
    model = write_classifier(metadata={"fake.build_error": problem})
    with pytest.raises(ModelError, match=f"cannot build .*: Error Code 4: {problem}") as error:
        open_trt(model, runtime=machine.runtime)
    assert "--postprocess" in error.value.hint


def test_rebuilding_is_logged_where_nobody_asked_for_a_report(
    machine: Any, write_classifier: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "deploykit.tensorrt"):
        open_trt(write_classifier(), runtime=machine.runtime).close()
    assert "Building an engine" in caplog.text


def test_without_a_driver_the_next_step_comes_before_any_work(write_classifier: Writer) -> None:
    model = write_classifier()
    for runtime in ("trt", "trt-rtx"):
        started = time.process_time()
        with pytest.raises(RuntimeUnavailableError, match=r"libcuda\.so\.1") as error:
            open_runner(model, runtime=runtime)
        assert "--runtime ort-cpu" in error.value.hint
        assert time.process_time() - started < 2
    with pytest.raises(RuntimeUnavailableError, match="no NVIDIA driver") as error:
        build_engine(model, runtime="trt")
    assert "--runtime trt-rtx" in error.value.hint


def test_wrong_files_are_told_before_the_missing_driver(tmp_path: Path) -> None:
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(ModelError, match="checkpoint"):
        open_runner(checkpoint, runtime="trt")
    with pytest.raises(ModelError):
        open_runner(tmp_path / "missing.onnx", runtime="trt")


def test_libraries_that_cannot_start_say_why(machine: Any, write_classifier: Writer) -> None:
    model = write_classifier()
    engine = built(model, machine)
    machine.trt.broken = True
    for path in (engine, model):
        with pytest.raises(RuntimeUnavailableError, match="cannot start: CUDA initialization failed"):
            open_trt(path, runtime=machine.runtime)
    with pytest.raises(RuntimeUnavailableError, match="cannot start"):
        build_engine(model, runtime=machine.runtime, options=BuildOptions(force=True))
