"""Which engines run on a machine, and the line that would make the others run."""

from __future__ import annotations

from collections.abc import Iterator

from deploykit_runtimes.machine.nvidia import CUDA_LINE, library_fix
from deploykit_runtimes.ort.plugins import PLUGINS
from deploykit_runtimes.runtimes import (
    available_runtimes,
    broken_runtimes,
    engine_file_runtimes,
    package_of,
    runtime_named,
    working_runtimes,
)

from deploykit.checkup.finding import Finding
from deploykit.checkup.machine import Machine

__all__ = ["ONE_WHEEL", "engine_findings"]

ONE_WHEEL = "pip uninstall -y {} && pip install "
_DRIVERS = {"13": "580", "12": "525"}
"""Oldest Linux driver that runs a major version of CUDA
(https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)."""
_INTEL_DRIVERS = {
    "gpu": "install Intel's GPU driver (intel-opencl-icd, libze1) and give the process access to /dev/dri",
    "npu": "install Intel's NPU driver (intel-level-zero-npu) and give the process access to /dev/accel",
}


def engine_findings(machine: Machine) -> tuple[Finding, ...]:
    """A finding for each runtime that deploykit knows, in the order of ``available_runtimes``."""
    found = (
        _ort_cpu(machine),
        _ort_gpu(machine, "ort-cuda", ("cuda",)),
        _ort_gpu(machine, "ort-trt", ("cuda", "tensorrt")),
        *_tensorrt(machine),
        *_openvino(machine),
        *_plugins(machine),
        *_added(machine),
    )
    return tuple(sorted(found, key=lambda each: available_runtimes().index(each.name)))


def _ort_cpu(machine: Machine) -> Finding:
    if not machine.wheels:
        return Finding(
            name="ort-cpu",
            ok=False,
            detail="onnxruntime is not installed",
            fix="pip install 'deploykit[cpu]'",
        )
    return _probed(machine, "ort-cpu", fix=ONE_WHEEL.format(" ".join(machine.wheels)) + machine.wheels[0])


def _ort_gpu(machine: Machine, name: str, needs: tuple[str, ...]) -> Finding:
    if "onnxruntime-gpu" not in machine.packages:
        if not (machine.nvidia_gpu or machine.nvidia_driver):
            return _no_gpu(machine, name)
        swap = "pip uninstall -y onnxruntime && " if "onnxruntime" in machine.packages else ""
        fix = f"{swap}pip install 'deploykit[gpu]'"
        return Finding(name=name, ok=False, detail="onnxruntime-gpu is not installed", fix=fix)
    trouble = _driver_trouble(machine, name) or _old_driver(machine, name)
    if trouble:
        return trouble
    missing = tuple(dict.fromkeys(lib for need in needs for lib in machine.missing_libraries.get(need, ())))
    if missing:
        version = machine.packages["onnxruntime-gpu"]
        return Finding(
            name=name,
            ok=False,
            detail=f"onnxruntime-gpu {version} needs {', '.join(missing)}, not found",
            fix=library_fix(missing),
        )
    return _probed(machine, name, fix=ONE_WHEEL.format("onnxruntime onnxruntime-gpu") + CUDA_LINE.split()[-1])


def _driver_trouble(machine: Machine, name: str) -> Finding | None:
    if machine.nvidia_driver:
        return None
    if not machine.nvidia_gpu:
        return _no_gpu(machine, name)
    return Finding(
        name=name,
        ok=False,
        detail="an NVIDIA GPU is present, but libcuda.so.1 cannot be loaded",
        fix="install the NVIDIA driver; in a container, start it with --gpus all",
    )


def _old_driver(machine: Machine, name: str) -> Finding | None:
    """Whether the driver is too old: it runs CUDA up to its own major version."""
    linked = machine.linked_libraries.get("cuda", ())
    wanted = next((lib.rpartition(".")[2] for lib in linked if lib.startswith("libcudart.so")), "")
    if not (wanted and machine.driver_cuda) or int(machine.driver_cuda.partition(".")[0]) >= int(wanted):
        return None
    at_least = f" {_DRIVERS[wanted]} or later" if wanted in _DRIVERS else ""
    return Finding(
        name=name,
        ok=False,
        detail=f"onnxruntime-gpu {machine.packages['onnxruntime-gpu']} is built for CUDA {wanted}, the "
        f"NVIDIA driver runs CUDA {machine.driver_cuda} at most",
        fix=f"update the NVIDIA driver to version{at_least}",
    )


def _no_gpu(machine: Machine, name: str) -> Finding:
    return Finding(
        name=name,
        ok=False,
        detail="no NVIDIA GPU and no driver (libcuda.so.1) on this machine",
        fix=f"use a machine with an NVIDIA GPU; here, run on {_here(machine)}",
    )


def _here(machine: Machine) -> str:
    """The finding for the CPU of this machine."""
    run = (name for name in ("ort-cpu", "ov-cpu") if name in machine.probes and machine.probes[name].ok)
    return " or ".join(run) or "the CPU"


def _tensorrt(machine: Machine) -> Iterator[Finding]:
    """Native TensorRT, in its two kinds."""
    for name in engine_file_runtimes():
        packages = runtime_named(name).packages
        package = next((each for each in packages if each in machine.packages), "")
        if not package:
            detail, fix = f"{packages[0]} is not installed", f"pip install {packages[0]} cuda-bindings"
            if not (machine.nvidia_gpu or machine.nvidia_driver):
                detail += ", and there is no NVIDIA GPU here"
                # Only TensorRT for RTX builds without one.
                if name == "trt-rtx":
                    detail += "; it builds engines without one"
                else:
                    fix = f"use a machine with an NVIDIA GPU, and there: {fix}"
            yield Finding(name=name, ok=False, detail=detail, fix=fix)
        elif name == "trt-rtx" and not (machine.nvidia_gpu or machine.nvidia_driver):
            yield Finding(
                name=name,
                ok=False,
                detail=f"{package} {machine.packages[package]} builds engines here; there is no NVIDIA GPU "
                "to run them",
                fix="run it on a machine with an NVIDIA GPU, after: deploykit build MODEL --runtime trt-rtx",
            )
        elif trouble := _driver_trouble(machine, name):
            yield trouble
        elif "cuda-bindings" not in machine.packages:
            detail, fix = "cuda-bindings is not installed", "pip install cuda-bindings"
            yield Finding(name=name, ok=False, detail=detail, fix=fix)
        else:
            yield _probed(machine, name, fix=f"pip install --force-reinstall {package}")


def _openvino(machine: Machine) -> Iterator[Finding]:
    if "openvino" not in machine.packages:
        fix = "pip install 'deploykit[openvino]'"
        for name in ("ov-cpu", *(f"ov-{kind}" for kind in _INTEL_DRIVERS)):
            yield Finding(name=name, ok=False, detail="openvino is not installed", fix=fix)
        return
    yield _probed(machine, "ov-cpu", fix="pip install --force-reinstall openvino")
    for kind, fix in _INTEL_DRIVERS.items():
        name = f"ov-{kind}"
        if name in machine.probes:
            yield _probed(machine, name, fix=fix)
        elif f"intel-{kind}" in machine.accelerators:
            detail = f"an Intel {kind.upper()} is present, but OpenVINO does not see it"
            yield Finding(name=name, ok=False, detail=detail, fix=fix)
        else:
            yield Finding(
                name=name,
                ok=False,
                detail=f"OpenVINO finds no Intel {kind.upper()} on this machine",
                fix=f"use a machine with an Intel {kind.upper()}; here, run on {_here(machine)}",
            )


def _plugins(machine: Machine) -> Iterator[Finding]:
    for plugin in PLUGINS.values():
        fix = f"use a machine with {plugin.needs}"
        for name in (each for each in available_runtimes() if each.startswith(plugin.runtime)):
            if plugin.package not in machine.packages:
                yield Finding(
                    name=name,
                    ok=False,
                    detail=f"{plugin.package} is not installed; it wants {plugin.needs}",
                    fix=f"pip install {plugin.package}",
                )
            elif name in machine.probes:
                yield _probed(machine, name, fix=fix)
            else:
                detail = f"{plugin.package} is installed, but its device or driver is not"
                yield Finding(name=name, ok=False, detail=detail, fix=fix)


def _added(machine: Machine) -> Iterator[Finding]:
    """Findings for runtimes from other packages."""
    for row in working_runtimes(quiet=True):
        package = package_of(row.name)
        if package or row.engine == "other":
            fix = f"pip install {row.packages[0]}" if row.packages else _again(package)
            yield _probed(machine, row.name, fix=fix)
    for name, reason in broken_runtimes().items():
        yield Finding(name=name, ok=False, detail=f"broken: {reason}", fix=_again(package_of(name)))


def _again(package: str) -> str:
    if not package:
        return "reinstall the package that brings it"
    return f"pip install --upgrade --force-reinstall {package}"


def _probed(machine: Machine, name: str, *, fix: str) -> Finding:
    result = machine.probes.get(name)
    if result is None:
        return Finding(name=name, ok=False, detail="was not tried", fix=fix)
    devices = f" ({', '.join(result.devices)})" if result.devices else ""
    return Finding(name=name, ok=result.ok, detail=result.detail + devices, fix="" if result.ok else fix)
