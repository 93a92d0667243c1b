"""Plug-in execution providers, against a stand-in for ONNX Runtime's registry of devices."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from deploykit_runtimes.contract.spec import AxisRange, InputSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DependencyError, RuntimeUnavailableError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort import plugins
from deploykit_runtimes.ort.plugins import PLUGINS, register, select_device

OPENVINO, RTX = PLUGINS["ort-openvino"], PLUGINS["ort-rtx"]
IMAGE = InputSpec(height=224, width=224, dynamic={"batch": AxisRange(min=1, max=8)})


def device(provider: str, kind: str, **metadata: str) -> Any:
    hardware = SimpleNamespace(type=SimpleNamespace(name=kind))
    return SimpleNamespace(ep_name=provider, device=hardware, ep_metadata=metadata)


class Registry:
    """The part of ``onnxruntime`` that registers plug-ins and lists their devices."""

    __version__ = "1.32.0"
    capi = onnxruntime.capi

    def __init__(self, devices: list[Any], refusal: str = "") -> None:
        self.devices = devices
        self.refusal = refusal
        self.registered: list[tuple[str, str]] = []

    def register_execution_provider_library(self, name: str, library: str) -> None:
        if self.refusal:
            raise self.capi.onnxruntime_pybind11_state.Fail(self.refusal)
        self.registered.append((name, library))

    def get_ep_devices(self) -> list[Any]:
        return [device("CPUExecutionProvider", "CPU"), *self.devices]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-ins' packages, as far as they are asked."""
    monkeypatch.setattr(plugins, "_registered", set())
    for plugin in PLUGINS.values():
        module = ModuleType(plugin.module)
        module.get_library_path = lambda: "/plugin.so"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, plugin.module, module)


@pytest.mark.usefixtures("packages")
def test_a_plugin_is_registered_once() -> None:
    ort = Registry([])
    register(ort, OPENVINO)
    register(ort, OPENVINO)
    assert ort.registered == [("OpenVINOExecutionProvider", "/plugin.so")]


def test_devices_are_chosen_by_kind() -> None:
    name = OPENVINO.provider
    devices = [device(name, "GPU", ov_device="GPU.0"), device(name, "CPU", ov_device="CPU")]
    ort = Registry(devices)
    assert select_device(ort, OPENVINO, "cpu") is devices[1]
    assert select_device(ort, OPENVINO, "gpu") is devices[0]
    with pytest.raises(RuntimeUnavailableError, match="on npu, OpenVINOExecutionProvider lists gpu, cpu"):
        select_device(ort, OPENVINO, "npu")


def test_a_plugin_without_names_of_its_own_goes_by_the_kind() -> None:
    only = device(RTX.provider, "GPU")
    assert select_device(Registry([only]), RTX, "gpu") is only
    with pytest.raises(RuntimeUnavailableError, match="lists no device") as caught:
        select_device(Registry([]), RTX, "gpu")
    assert "ort-cpu" in caught.value.hint


def test_of_several_gpus_the_numbered_one_is_taken() -> None:
    listed = [device(OPENVINO.provider, kind, ov_device=kind) for kind in ("CPU", "GPU.0", "GPU.1")]
    ort = Registry(listed)
    assert select_device(ort, OPENVINO, "gpu", gpu=1) is listed[2]
    assert select_device(ort, OPENVINO, "cpu", gpu=1) is listed[0]
    with pytest.raises(RuntimeUnavailableError, match=r"GPU 2 was asked for, .* lists 2, counted from 0"):
        select_device(ort, OPENVINO, "gpu", gpu=2)


@pytest.mark.usefixtures("packages")
def test_a_library_that_cannot_be_loaded_names_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "missing_libraries", lambda path: ("libcuda.so.1",))
    with pytest.raises(RuntimeUnavailableError, match=r"needs libcuda\.so\.1, not found"):
        register(Registry([], refusal="cannot open shared object file"), RTX)
    monkeypatch.setattr(plugins, "missing_libraries", lambda path: ())
    with pytest.raises(RuntimeUnavailableError, match="undefined symbol: x"):
        register(Registry([], refusal="Failed to load\nundefined symbol: x"), RTX)


@pytest.mark.usefixtures("packages")
def test_an_old_onnxruntime_is_told() -> None:
    with pytest.raises(DependencyError, match=r"1\.23 or later, found 1\.20"):
        register(SimpleNamespace(__version__="1.20"), OPENVINO)


@pytest.mark.parametrize("runtime", ["ort-openvino", "ort-openvino-gpu", "ort-rtx"])
def test_a_package_that_is_not_installed_is_named(
    write_classifier: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    for plugin in PLUGINS.values():
        monkeypatch.setitem(sys.modules, plugin.module, None)
    with pytest.raises(DependencyError) as caught:
        open_runner(write_classifier(), runtime=runtime)
    assert "pip install onnxruntime-ep-" in caught.value.hint


def test_options_keep_the_precision_and_the_range(tmp_path: Path) -> None:
    options = EngineOptions(threads=2, cache=tmp_path)
    cpu = json.loads(OPENVINO.configure("cpu", IMAGE, options)["load_config"])["CPU"]
    assert cpu["INFERENCE_PRECISION_HINT"] == "f32"
    assert cpu["INFERENCE_NUM_THREADS"] == "2"
    assert cpu["CACHE_DIR"] == str(tmp_path)
    npu = json.loads(OPENVINO.configure("npu", IMAGE, EngineOptions(goal="throughput"))["load_config"])["NPU"]
    assert npu == {"PERFORMANCE_HINT": "THROUGHPUT"}
    rtx = RTX.configure("gpu", IMAGE, options)
    assert rtx["nv_profile_max_shapes"] == "images:8x3x224x224"
    assert rtx["nv_runtime_cache_path"] == str(tmp_path)
