"""From the facts of a machine to what runs, what does not, and the line that would fix it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from deploykit_runtimes.open import available_runtimes

from deploykit.doctor.machine import Machine

__all__ = ["Diagnosis", "Finding", "diagnose"]

_ONE_WHEEL = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install "
_EXPORT_PACKAGES = ("torch", "timm", "onnx", "onnxscript", "onnxsim", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: an engine, an ability, or a conflict.

    Attributes:
        ok: It works.
        detail: What runs, or the reason why it does not.
        fix: The one line that would change that; empty when nothing needs to change.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Engines that run models, abilities that need packages, and conflicts between packages."""

    engines: tuple[Finding, ...]
    abilities: tuple[Finding, ...]
    conflicts: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """At least one engine runs, and nothing is in conflict."""
        return bool(self.ready) and not self.conflicts

    @property
    def ready(self) -> tuple[str, ...]:
        """Names of the engines that run, as ``--runtime`` takes them."""
        return tuple(
            engine.name for engine in self.engines if engine.ok and engine.name in available_runtimes()
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"ok": self.ok, "ready": self.ready, **asdict(self)}


def diagnose(machine: Machine) -> Diagnosis:
    """Judge a machine. A pure function: made-up machines are judged like real ones."""
    return Diagnosis(
        engines=(
            _ort_cpu(machine),
            _ort_gpu(machine, "ort-cuda", ("cuda",), "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
            _ort_gpu(machine, "ort-trt", ("cuda", "tensorrt"), "pip install 'tensorrt{version}'"),
            _openvino(machine),
        ),
        abilities=(_export(machine), _yolo(machine)),
        conflicts=tuple(found for check in _CONFLICTS if (found := check(machine)) is not None),
    )


def _ort_cpu(machine: Machine) -> Finding:
    if not _onnxruntimes(machine):
        return Finding(
            name="ort-cpu",
            ok=False,
            detail="onnxruntime is not installed",
            fix="pip install 'deploykit[cpu]'",
        )
    wheel = _onnxruntimes(machine)[0]
    return _probed(machine, "ort-cpu", fix=f"{_ONE_WHEEL}{wheel}")


def _ort_gpu(machine: Machine, name: str, needs: tuple[str, ...], fix: str) -> Finding:
    if "onnxruntime-gpu" not in machine.packages:
        swap = "pip uninstall -y onnxruntime && " if "onnxruntime" in machine.packages else ""
        if not (machine.nvidia_gpu or machine.nvidia_driver):
            return _no_gpu(name)
        return Finding(
            name=name,
            ok=False,
            detail="onnxruntime-gpu is not installed",
            fix=f"{swap}pip install 'deploykit[gpu]'",
        )
    if not machine.nvidia_driver:
        if not machine.nvidia_gpu:
            return _no_gpu(name)
        return Finding(
            name=name,
            ok=False,
            detail="an NVIDIA GPU is present, but libcuda.so.1 cannot be loaded",
            fix="install the NVIDIA driver; in a container, start it with --gpus all",
        )
    missing = tuple(dict.fromkeys(lib for need in needs for lib in machine.missing_libraries.get(need, ())))
    if missing:
        version = machine.packages["onnxruntime-gpu"]
        return Finding(
            name=name,
            ok=False,
            detail=f"onnxruntime-gpu {version} needs {', '.join(missing)}, not found",
            fix=_library_fix(missing, fix),
        )
    return _probed(machine, name, fix=f"{_ONE_WHEEL}'onnxruntime-gpu[cuda,cudnn]'")


def _no_gpu(name: str) -> Finding:
    return Finding(
        name=name,
        ok=False,
        detail="no NVIDIA GPU and no driver (libcuda.so.1) on this machine",
        fix="use a machine with an NVIDIA GPU; here, run on ort-cpu or openvino",
    )


def _library_fix(missing: tuple[str, ...], fix: str) -> str:
    """TensorRT's major version is part of its library name: the wheel must match it."""
    if not any(name.startswith(("libnvinfer", "libnvonnxparser")) for name in missing):
        return "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    majors = {name.rpartition(".")[2] for name in missing if name.startswith("libnvinfer")} or {""}
    major = max(majors)
    return fix.format(version=f"=={major}.*" if major else "")


def _openvino(machine: Machine) -> Finding:
    if "openvino" not in machine.packages:
        return Finding(
            name="openvino",
            ok=False,
            detail="openvino is not installed",
            fix="pip install 'deploykit[openvino]'",
        )
    return _probed(machine, "openvino", fix="pip install --force-reinstall openvino")


def _probed(machine: Machine, name: str, *, fix: str) -> Finding:
    result = machine.probes.get(name)
    if result is None:
        return Finding(name=name, ok=False, detail="was not tried", fix=fix)
    detail = result.detail
    if result.ok and name not in available_runtimes():
        detail += "; this version of deploykit has no --runtime for it"
    return Finding(name=name, ok=result.ok, detail=detail, fix="" if result.ok else fix)


def _export(machine: Machine) -> Finding:
    missing = [name for name in _EXPORT_PACKAGES if name not in machine.packages]
    if missing:
        detail, fix = f"missing {', '.join(missing)}", "pip install 'deploykit[export]'"
        return Finding(name="export", ok=False, detail=detail, fix=fix)
    if not _onnxruntimes(machine):
        return Finding(
            name="export",
            ok=False,
            detail="the proof needs onnxruntime",
            fix="pip install 'deploykit[export,cpu]'",
        )
    return Finding(name="export", ok=True, detail=f"torch {machine.packages['torch']}")


def _yolo(machine: Machine) -> Finding:
    if "ultralytics" not in machine.packages:
        return Finding(
            name="export of YOLO",
            ok=False,
            detail="ultralytics is not installed (AGPL-3.0: check that its terms suit you)",
            fix="pip install 'deploykit[yolo]'",
        )
    detail = (
        f"ultralytics {machine.packages['ultralytics']} (AGPL-3.0: its terms apply to what you build with it)"
    )
    return Finding(name="export of YOLO", ok=True, detail=detail)


def _both_wheels(machine: Machine) -> Finding | None:
    if len(_onnxruntimes(machine)) < 2:
        return None
    keep = "'deploykit[gpu]'" if machine.nvidia_driver else "'deploykit[cpu]'"
    return Finding(
        name="onnxruntime",
        ok=False,
        detail="onnxruntime and onnxruntime-gpu are both installed; they overwrite each other's files",
        fix=f"{_ONE_WHEEL}{keep}",
    )


def _memory(machine: Machine) -> Finding | None:
    memory = machine.cpu.memory_limit
    if memory is None or memory >= 1 << 29:
        return None
    return Finding(
        name="memory",
        ok=False,
        detail=f"the container allows {memory >> 20} MB, models need more",
        fix="start the container with --memory 2g or more",
    )


_CONFLICTS: tuple[Callable[[Machine], Finding | None], ...] = (_both_wheels, _memory)


def _onnxruntimes(machine: Machine) -> list[str]:
    return [name for name in ("onnxruntime-gpu", "onnxruntime") if name in machine.packages]
