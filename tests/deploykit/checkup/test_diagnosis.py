"""Made-up machines, and what the doctor says of them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from deploykit_runtimes.runtimes import available_runtimes, runtime_named

from deploykit.checkup.diagnosis import diagnose
from deploykit.checkup.finding import Finding
from deploykit.checkup.machine import SERVE_PACKAGES, Machine, worth_trying
from deploykit.checkup.probe import Probe
from deploykit.machine import Cpu, installed

RUNS = Probe(ok=True, detail="onnxruntime 1.32.0 on cpu")
BARE = Machine(python="CPython 3.12", system="Linux", cpu=Cpu(model="m", architecture="x86_64"))
CPU_ONLY = replace(BARE, packages={"onnxruntime": "1.32.0"}, probes={"ort-cpu": RUNS})
GPU = replace(
    BARE,
    packages={"onnxruntime-gpu": "1.31.1"},
    accelerators=("nvidia-gpu",),
    nvidia_driver=True,
    driver_cuda="13.0",
    linked_libraries={"cuda": ("libcudart.so.13",)},
    probes={
        "ort-cpu": RUNS,
        "ort-cuda": Probe(ok=True, detail="onnxruntime 1.31.1 on cuda"),
        "ort-trt": Probe(ok=True, detail="onnxruntime 1.31.1 on tensorrt"),
    },
)


def engine(machine: Machine, name: str) -> Finding:
    return next(found for found in diagnose(machine).engines if found.name == name)


def test_a_bare_machine_runs_nothing_and_is_told_the_pip_lines() -> None:
    found = diagnose(BARE)
    assert not found.ok
    assert found.ready == ()
    assert engine(BARE, "ort-cpu").fix == "pip install 'deploykit[cpu]'"
    assert engine(BARE, "ov-cpu").fix == "pip install 'deploykit[openvino]'"
    assert found.abilities[0].fix == "pip install 'deploykit[export]'"


def test_one_engine_is_enough() -> None:
    found = diagnose(CPU_ONLY)
    assert found.ok
    assert found.ready == ("ort-cpu",)
    assert "no NVIDIA GPU" in engine(CPU_ONLY, "ort-cuda").detail


def test_both_wheels_are_a_conflict_with_one_line_to_fix_it() -> None:
    machine = replace(CPU_ONLY, packages={"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"})
    found = diagnose(machine)
    assert not found.ok
    (conflict,) = found.conflicts
    assert conflict.fix == ("pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'deploykit[cpu]'")
    with_driver = diagnose(replace(machine, nvidia_driver=True)).conflicts[0]
    assert with_driver.fix.endswith("'deploykit[gpu]'")


def test_a_gpu_machine_that_works() -> None:
    assert diagnose(GPU).ready == ("ort-cpu", "ort-cuda", "ort-trt")


def test_a_gpu_with_the_cpu_wheel_is_told_to_swap_it() -> None:
    machine = replace(CPU_ONLY, accelerators=("nvidia-gpu",), nvidia_driver=True)
    assert engine(machine, "ort-cuda").fix == ("pip uninstall -y onnxruntime && pip install 'deploykit[gpu]'")


def test_a_missing_driver_is_told() -> None:
    found = engine(replace(GPU, nvidia_driver=False), "ort-cuda")
    assert not found.ok
    assert "libcuda.so.1" in found.detail
    assert "driver" in found.fix


def test_missing_tensorrt_names_the_version_that_the_wheel_links_to() -> None:
    libraries = {"cuda": (), "tensorrt": ("libnvinfer.so.10", "libnvonnxparser.so.10")}
    machine = replace(GPU, missing_libraries=libraries)
    assert engine(machine, "ort-cuda").ok
    found = engine(machine, "ort-trt")
    assert "libnvinfer.so.10" in found.detail
    assert found.fix == "pip install 'tensorrt==10.*'"


def test_missing_cuda_libraries_come_before_tensorrt() -> None:
    machine = replace(GPU, missing_libraries={"cuda": ("libcublas.so.13",)})
    for name in ("ort-cuda", "ort-trt"):
        assert engine(machine, name).fix == "pip install 'onnxruntime-gpu[cuda,cudnn]'"


def test_an_engine_that_failed_says_why_and_what_to_do() -> None:
    machine = replace(CPU_ONLY, probes={"ort-cpu": Probe(ok=False, detail="undefined symbol: x")})
    found = engine(machine, "ort-cpu")
    assert (found.ok, found.detail) == (False, "undefined symbol: x")
    assert found.fix


OPENVINO = replace(
    BARE,
    packages={"openvino": "2026.4"},
    probes={"ov-cpu": Probe(ok=True, detail="openvino 2026.4 on cpu", devices=("CPU Intel Xeon",))},
)


def test_openvino_lists_its_devices() -> None:
    assert diagnose(OPENVINO).ready == ("ov-cpu",)
    assert "CPU Intel Xeon" in engine(OPENVINO, "ov-cpu").detail
    for name in ("ov-gpu", "ov-npu"):
        assert "finds no Intel" in engine(OPENVINO, name).detail
        assert engine(OPENVINO, name).fix.endswith("here, run on ov-cpu")


@pytest.mark.parametrize("kind", ["gpu", "npu"])
def test_an_intel_device_without_its_driver_is_told(kind: str) -> None:
    found = engine(replace(OPENVINO, accelerators=(f"intel-{kind}",)), f"ov-{kind}")
    assert "does not see it" in found.detail
    assert "driver" in found.fix


def test_a_driver_older_than_the_wheels_cuda_is_told() -> None:
    found = engine(replace(GPU, driver_cuda="12.4"), "ort-cuda")
    assert "built for CUDA 13, the NVIDIA driver runs CUDA 12.4 at most" in found.detail
    assert found.fix == "update the NVIDIA driver to version 580 or later"
    assert engine(replace(GPU, driver_cuda="13.2"), "ort-cuda").ok


def test_native_tensorrt_needs_the_cuda_bindings() -> None:
    assert engine(GPU, "trt").fix == "pip install tensorrt cuda-bindings"
    with_trt = replace(GPU, packages={**GPU.packages, "tensorrt": "10.16.1"})
    assert engine(with_trt, "trt").fix == "pip install cuda-bindings"
    assert "and there: pip install tensorrt cuda-bindings" in engine(CPU_ONLY, "trt").fix
    assert engine(CPU_ONLY, "trt-rtx").fix == "pip install tensorrt-rtx cuda-bindings"
    assert "builds engines without one" in engine(CPU_ONLY, "trt-rtx").detail


@pytest.mark.parametrize("package", ["tensorrt-rtx", "tensorrt-rtx-cu13-bindings"])
def test_tensorrt_for_rtx_builds_without_a_gpu(package: str) -> None:
    here = replace(CPU_ONLY, packages={**CPU_ONLY.packages, package: "1.7"})
    found = engine(here, "trt-rtx")
    assert not found.ok
    assert found.detail == f"{package} 1.7 builds engines here; there is no NVIDIA GPU to run them"
    assert "deploykit build MODEL --runtime trt-rtx" in found.fix


def test_tensorrts_bindings_are_enough() -> None:
    alone = replace(GPU, packages={**GPU.packages, "tensorrt-cu13-bindings": "10.16.1"})
    assert engine(alone, "trt").fix == "pip install cuda-bindings"
    assert "trt" in worth_trying(alone.packages, driver=True)


def test_the_bindings_that_are_installed_here_are_found() -> None:
    assert "tensorrt-rtx-cu13-bindings" in installed(*runtime_named("trt-rtx").packages)


def test_plugins_are_told_of() -> None:
    package = "onnxruntime-ep-nv-tensorrt-rtx"
    machine = replace(CPU_ONLY, packages={"onnxruntime": "1.32.0", package: "0.5.0"})
    assert "RTX GPU" in engine(machine, "ort-rtx").fix
    assert engine(CPU_ONLY, "ort-rtx").fix == f"pip install {package}"
    assert "not installed" in engine(CPU_ONLY, "ort-openvino-npu").detail
    old = replace(machine, packages={"onnxruntime": "1.22.1", package: "0.5.0"})
    (conflict,) = diagnose(old).conflicts
    assert conflict.fix == "pip install --upgrade onnxruntime"


def test_any_two_wheels_of_onnxruntime_are_in_conflict() -> None:
    machine = replace(CPU_ONLY, packages={"onnxruntime": "1.32.0", "onnxruntime-openvino": "1.24.1"})
    assert "onnxruntime and onnxruntime-openvino are both installed" in diagnose(machine).conflicts[0].detail


@pytest.mark.parametrize(
    ("packages", "driver", "names"),
    [
        ({}, False, []),
        ({"onnxruntime": "1"}, False, ["ort-cpu"]),
        ({"onnxruntime-gpu": "1"}, False, ["ort-cpu"]),
        ({"onnxruntime-gpu": "1", "tensorrt": "10"}, True, ["ort-cpu", "ort-cuda", "ort-trt", "trt"]),
        ({"openvino": "1"}, False, ["ov-cpu", "ov-gpu", "ov-npu"]),
        ({"onnxruntime-ep-nv-tensorrt-rtx": "1"}, False, []),
        ({"onnxruntime-ep-nv-tensorrt-rtx": "1", "tensorrt-rtx": "1"}, True, ["ort-rtx", "trt-rtx"]),
    ],
)
def test_what_is_tried(packages: dict[str, str], driver: bool, names: list[str]) -> None:
    assert worth_trying(packages, driver) == names


def test_ultralytics_licence_is_named() -> None:
    for packages in ({}, {"ultralytics": "8.4.190"}):
        assert "AGPL-3.0" in diagnose(replace(BARE, packages=packages)).abilities[1].detail


def test_a_tiny_container_is_a_conflict() -> None:
    machine = replace(CPU_ONLY, cpu=Cpu(model="m", architecture="x", memory_limit=128 << 20))
    assert "128 MB" in diagnose(machine).conflicts[0].detail


@pytest.mark.parametrize("machine", [BARE, CPU_ONLY, GPU, replace(GPU, nvidia_driver=False)])
def test_whatever_does_not_work_comes_with_one_line(machine: Machine) -> None:
    found = diagnose(machine)
    assert tuple(each.name for each in found.engines) == available_runtimes()
    for finding in (*found.engines, *found.abilities, *found.conflicts):
        assert finding.ok or (finding.fix and "\n" not in finding.fix)


def test_serving_is_an_ability_that_names_its_extra() -> None:
    found = {each.name: each for each in diagnose(BARE).abilities}["serve"]
    assert found.fix == "pip install 'deploykit[serve]'"
    served = replace(BARE, packages=dict.fromkeys(SERVE_PACKAGES, "1.0"))
    assert {each.name: each for each in diagnose(served).abilities}["serve"].ok


def test_the_packages_of_serving_are_those_of_its_extra() -> None:
    project = Path(__file__).parents[3] / "pyproject.toml"
    extra = tomllib.loads(project.read_text())["project"]["optional-dependencies"]["serve"]
    names = {re.split(r"[^\w-]", line)[0] for line in extra}
    assert names - {"uvloop"} == set(SERVE_PACKAGES)
