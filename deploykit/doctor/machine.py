"""Everything that the diagnosis is made from, collected in one record."""

from __future__ import annotations

import ctypes
import mmap
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from deploykit.benchmark.environment import PACKAGES
from deploykit.doctor.probe import Probe, probe
from deploykit.machine import Cpu, installed, read_cpu

__all__ = ["Machine", "collect"]

_PACKAGES = (*PACKAGES, "onnxsim", "onnxscript", "safetensors", "torchvision", "cuda-bindings")
_NEEDED = re.compile(rb"\x00(lib(?:nvinfer|nvonnxparser|cudart|cublasLt|cublas|cudnn|curand)\.so\.\d+)\x00")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine as far as running models is concerned.

    Attributes:
        python, system: Interpreter and operating system.
        cpu: The processor and its limits.
        packages: Versions of installed distributions.
        nvidia_gpu: An NVIDIA device is on the PCI bus.
        nvidia_driver: libcuda.so.1 can be loaded.
        gpus: Names and driver versions as nvidia-smi tells them.
        missing_libraries: Shared libraries that an execution provider needs and that cannot be
            found, by provider (``cuda``, ``tensorrt``).
        probes: Engines that were tried, and how that went.
    """

    python: str
    system: str
    cpu: Cpu
    packages: Mapping[str, str] = field(default_factory=dict)
    nvidia_gpu: bool = False
    nvidia_driver: bool = False
    gpus: tuple[str, ...] = ()
    missing_libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    probes: Mapping[str, Probe] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def collect(report: Callable[[str], None] = lambda _: None) -> Machine:
    """Look at this machine, and try each engine whose packages are installed."""
    packages = installed(*_PACKAGES)
    driver = _loads("libcuda.so.1")
    probes = {}
    for name in _worth_trying(packages, driver):
        report(f"Trying {name}")
        probes[name] = probe(name)
    return Machine(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=read_cpu(),
        packages=packages,
        nvidia_gpu=_has_nvidia_device(Path("/sys/bus/pci/devices")),
        nvidia_driver=driver,
        gpus=_gpus(),
        missing_libraries=_missing_libraries(),
        probes=probes,
    )


def _worth_trying(packages: Mapping[str, str], driver: bool) -> list[str]:
    names = []
    if "onnxruntime" in packages or "onnxruntime-gpu" in packages:
        names.append("ort-cpu")
    if "onnxruntime-gpu" in packages and driver:
        names += ["ort-cuda", "ort-trt"]
    if "openvino" in packages:
        names.append("openvino")
    return names


def _has_nvidia_device(devices: Path) -> bool:
    if not devices.is_dir():
        return False
    for vendor in devices.glob("*/vendor"):
        try:
            if vendor.read_text().strip() == "0x10de":
                return True
        except OSError:
            continue
    return False


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _gpus() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = "--query-gpu=name,driver_version,memory.total"
    try:
        done = subprocess.run(  # noqa: S603 - the driver's own tool, fixed arguments
            [program, query, "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return (
        tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
        if done.returncode == 0
        else ()
    )


def _missing_libraries() -> dict[str, tuple[str, ...]]:
    """What the provider libraries of onnxruntime-gpu link to and cannot find.

    The wheel's own library is read, because each release wants other versions of CUDA and TensorRT.
    """
    missing = {}
    for provider in ("cuda", "tensorrt"):
        library = _file_of("onnxruntime-gpu", f"libonnxruntime_providers_{provider}.so")
        if library is not None:
            missing[provider] = tuple(name for name in needed_libraries(library) if not _available(name))
    return missing


def needed_libraries(library: Path) -> tuple[str, ...]:
    """NVIDIA libraries, with their versions, that a shared library names in its string table."""
    if library.stat().st_size == 0:
        return ()
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # The names share their terminating zero bytes, so each search starts on the last one.
        names, start = set(), 0
        while found := _NEEDED.search(data, start):
            names.add(found[1].decode())
            start = found.end() - 1
    return tuple(sorted(names))


def _available(library: str) -> bool:
    """The loader finds it, or an installed NVIDIA wheel holds it (the adapters preload from those)."""
    if _loads(library):
        return True
    site = Path(sysconfig.get_path("platlib"))
    return any(site.glob(f"nvidia/*/lib/{library}")) or any(site.glob(f"tensorrt_libs/{library}"))


def _file_of(package: str, name: str) -> Path | None:
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.name == name:
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None
