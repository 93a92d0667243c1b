"""All the facts behind a diagnosis, collected in one record."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.machine.elf import missing_libraries, needed_libraries, package_file
from deploykit_runtimes.machine.nvidia import has_nvidia_driver, read_gpu
from deploykit_runtimes.runtimes import working_runtimes

from deploykit.benchmark.environment import PACKAGES
from deploykit.checkup.families import broken_families
from deploykit.checkup.hardware import accelerators, nvidia_gpus
from deploykit.checkup.probe import Probe, probe
from deploykit.machine import Cpu, installed, read_cpu

__all__ = ["ORT_WHEELS", "SERVE_PACKAGES", "Machine", "collect", "worth_trying"]

ORT_WHEELS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-training",
    "onnxruntime-silicon",
)
"""Distributions that all install the package ``onnxruntime``, over each other's files."""

SERVE_PACKAGES = (
    "grpcio",
    "grpcio-health-checking",
    "httptools",
    "orjson",
    "prometheus-client",
    "python-multipart",
    "uvicorn",
)
"""The distributions without which nothing is served; on most systems the extra brings uvloop too."""

_PROVIDERS = ("cuda", "tensorrt")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What is known about a machine's ability to run models.

    Attributes:
        python, system: Interpreter and operating system.
        cpu: The processor and its limits.
        packages: Versions of installed distributions.
        accelerators: Devices in the machine; see ``hardware.accelerators``.
        nvidia_driver: libcuda.so.1 can be loaded.
        driver_cuda: Newest CUDA version that the driver runs, empty without one.
        gpus: Names and driver versions as nvidia-smi reports them.
        linked_libraries: NVIDIA libraries that each provider library of onnxruntime-gpu links to, by
            provider (``cuda``, ``tensorrt``), read from the files.
        missing_libraries: Those of them that cannot be found. The driver's own library is excluded.
        probes: Engines that were tried, with the outcome.
        broken_families: Families of other packages that cannot be loaded, and why.
    """

    python: str
    system: str
    cpu: Cpu
    packages: Mapping[str, str] = field(default_factory=dict)
    accelerators: tuple[str, ...] = ()
    nvidia_driver: bool = False
    driver_cuda: str = ""
    gpus: tuple[str, ...] = ()
    linked_libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing_libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    probes: Mapping[str, Probe] = field(default_factory=dict)
    broken_families: Mapping[str, str] = field(default_factory=dict)

    @property
    def nvidia_gpu(self) -> bool:
        """An NVIDIA device is on the PCI bus."""
        return "nvidia-gpu" in self.accelerators

    @property
    def wheels(self) -> tuple[str, ...]:
        """The distributions of onnxruntime that are installed; more than one is a conflict."""
        return tuple(name for name in ORT_WHEELS if name in self.packages)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def collect(report: Callable[[str], None] = lambda _: None) -> Machine:
    """Examine this machine, and try each engine whose packages are installed."""
    packages = installed(*_packages())
    driver = has_nvidia_driver()
    libraries = {name: package_file("onnxruntime-gpu", _library(name)) for name in _PROVIDERS}
    return Machine(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=read_cpu(),
        packages=packages,
        accelerators=accelerators(),
        nvidia_driver=driver,
        driver_cuda=_driver_cuda() if driver else "",
        gpus=nvidia_gpus(),
        linked_libraries={
            name: _nvidia_only(needed_libraries(path)) for name, path in libraries.items() if path
        },
        missing_libraries={
            name: _nvidia_only(missing_libraries(path)) for name, path in libraries.items() if path
        },
        probes=_probes(packages, driver, report),
        broken_families=broken_families() if "torch" in packages else {},
    )


def _packages() -> tuple[str, ...]:
    """Every distribution whose version is worth knowing, once each."""
    of_runtimes = (package for row in working_runtimes(quiet=True) for package in row.packages)
    more = ("onnxsim", "onnxscript", "safetensors", "torchvision", "cuda-bindings")
    return tuple(dict.fromkeys((*PACKAGES, *ORT_WHEELS, *more, *SERVE_PACKAGES, *of_runtimes)))


def worth_trying(packages: Mapping[str, str], driver: bool) -> list[str]:
    """Runtimes whose packages are installed, and for NVIDIA's the driver too."""
    names = []
    for row in working_runtimes(quiet=True):
        needed = ORT_WHEELS if row.name == "ort-cpu" else row.packages
        wanted = any(package in packages for package in needed) or not needed
        if row.nvidia and not driver:
            wanted = False
        if wanted:
            names.append(row.name)
    return names


def _probes(packages: Mapping[str, str], driver: bool, report: Callable[[str], None]) -> dict[str, Probe]:
    probes: dict[str, Probe] = {}
    for name in worth_trying(packages, driver):
        kind = name.rpartition("-")[2]
        if kind in ("gpu", "npu") and kind not in _listed(name, probes):
            continue  # the engine says that there is no such device
        report(f"Trying {name}")
        probes[name] = probe(name)
    return probes


def _listed(name: str, probes: Mapping[str, Probe]) -> set[str]:
    """Kinds of device that an engine listed when it was tried on the CPU."""
    first = probes.get(f"{name.rpartition('-')[0]}-cpu")
    return (
        {device.partition(".")[0].partition(" ")[0].lower() for device in first.devices} if first else set()
    )


def _library(provider: str) -> str:
    return f"libonnxruntime_providers_{provider}.so"


def _nvidia_only(libraries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in libraries if re.match(r"lib(cu(?!da\.)|nv)", name))


def _driver_cuda() -> str:
    try:
        return read_gpu().driver
    except RuntimeUnavailableError:
        return ""
