"""Refusals before and after a session is opened, and what a placement says."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from deploykit_runtimes.contract.spec import InputSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.machine.nvidia import Gpu
from deploykit_runtimes.ort import session as ort_session
from deploykit_runtimes.ort.session import (
    engine_key,
    provider_library,
    refuse_missing_libraries,
    refuse_strays,
    require_provider,
    working_precision,
)
from deploykit_runtimes.runner import Placement

CUDA = "CUDAExecutionProvider"
GPU_WHEEL = SimpleNamespace(
    __version__="1.31.1", __file__="/site/onnxruntime/__init__.py", get_available_providers=lambda: [CUDA]
)


def test_both_wheels_are_told_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [SimpleNamespace(name=name) for name in ("onnxruntime", "onnxruntime-gpu")]
    monkeypatch.setattr(ort_session, "distributions", lambda: names)
    cpu = SimpleNamespace(__version__="1.32.0", get_available_providers=lambda: ["CPUExecutionProvider"])
    for has_driver, extra in ((True, "gpu"), (False, "cpu")):
        with pytest.raises(RuntimeUnavailableError, match="both installed") as caught:
            require_provider(cpu, CUDA, has_driver=has_driver)
        assert f"deploykit[{extra}]" in caught.value.hint
    monkeypatch.setattr(ort_session, "distributions", lambda: names[:1])
    with pytest.raises(RuntimeUnavailableError, match="built without it") as caught:
        require_provider(cpu, CUDA, has_driver=True)
    assert "deploykit[gpu]" in caught.value.hint
    with pytest.raises(RuntimeUnavailableError, match="built without it") as caught:
        require_provider(cpu, CUDA, has_driver=False)
    assert "--runtime ort-cpu" in caught.value.hint
    assert "pip" not in caught.value.hint


def test_a_missing_driver_is_told() -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"libcuda\.so\.1") as caught:
        require_provider(GPU_WHEEL, CUDA, has_driver=False)
    assert "ort-cpu" in caught.value.hint
    require_provider(GPU_WHEEL, CUDA, has_driver=True)


def test_all_missing_libraries_are_named_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = {"cuda": (), "tensorrt": ("libnvinfer.so.10", "libnvonnxparser.so.10")}
    monkeypatch.setattr(ort_session, "preload", lambda ort, libraries: None)
    monkeypatch.setattr(ort_session, "missing_libraries", lambda path: missing[path.stem.rpartition("_")[2]])
    refuse_missing_libraries(GPU_WHEEL, "cuda", CUDA)
    with pytest.raises(
        RuntimeUnavailableError, match=r"libnvinfer\.so\.10, libnvonnxparser\.so\.10"
    ) as caught:
        refuse_missing_libraries(GPU_WHEEL, "tensorrt", "TensorrtExecutionProvider")
    assert "tensorrt==10.*" in caught.value.hint


@pytest.mark.parametrize(
    ("providers", "said"),
    [({CUDA: 3, "CPUExecutionProvider": 2}, "2 on CPUExecutionProvider"), ({}, "no record")],
)
def test_strict_refuses_any_stray(providers: dict[str, int], said: str) -> None:
    placement = Placement(engine="onnxruntime", version="1", device="cuda", providers=providers)
    with pytest.raises(RuntimeUnavailableError, match=said):
        refuse_strays(placement, CUDA)


def test_strict_accepts_a_whole_placement() -> None:
    refuse_strays(Placement(engine="onnxruntime", version="1", device="cuda", providers={CUDA: 3}), CUDA)


@pytest.mark.parametrize(
    ("weights", "device", "options", "expected"),
    [
        ({"float32": 1000, "int64": 900}, "cuda", {}, "fp32"),
        ({"float32": 1000}, "cuda", {"precision": "auto"}, "tf32"),
        ({"float16": 1000, "float32": 5}, "cuda", {}, "fp16"),
        ({"float16": 1000, "float32": 400}, "cuda", {}, "fp16+fp32"),
        ({"int8": 1000, "float32": 400}, "cpu", {}, "int8+fp32"),
        ({}, "cpu", {}, "fp32"),
    ],
)
def test_precision_is_that_of_the_weights(
    weights: dict[str, int], device: str, options: dict[str, str], expected: str
) -> None:
    assert working_precision(weights, device, EngineOptions(**options)) == expected  # type: ignore[arg-type]


def test_half_precision_is_computed_in_single_on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert working_precision({"float16": 10, "float32": 5}, "cpu", EngineOptions()) == "fp32"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert working_precision({"float16": 10}, "cpu", EngineOptions()) == "fp16"


def test_an_engine_depends_on_model_gpu_versions_and_profile(
    monkeypatch: pytest.MonkeyPatch, write_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(
        onnx.load(write_classifier()), model, save_as_external_data=True, location="w", size_threshold=0
    )
    gpu = Gpu(name="NVIDIA L4", capability="8.9", driver="13.0")
    monkeypatch.setattr(ort_session, "read_gpu", lambda index: gpu)
    monkeypatch.setattr(ort_session, "needed_libraries", lambda path: ("libc.so.6", "libnvinfer.so.10"))
    monkeypatch.setattr(ort_session, "tensorrt_version", lambda name: f"10.16.1 of {name}")
    image = InputSpec(height=8, width=8)
    first = engine_key(GPU_WHEEL, model, image, EngineOptions())
    assert first["tensorrt"] == "10.16.1 of libnvinfer.so.10"
    assert first["gpu"] == "NVIDIA L4"
    (tmp_path / "w").write_bytes(bytes(36))
    assert engine_key(GPU_WHEEL, model, image, EngineOptions()) != first
    wider = InputSpec(height=8, width=16)
    assert engine_key(GPU_WHEEL, model, wider, EngineOptions())["profile"] != first["profile"]


def test_where_the_provider_libraries_are() -> None:
    found = provider_library(GPU_WHEEL, "cuda")
    assert found == Path("/site/onnxruntime/capi/libonnxruntime_providers_cuda.so")
