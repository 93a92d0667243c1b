"""The record of where a measurement was taken, without which numbers cannot be compared."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from deploykit.machine import Cpu, installed, read_cpu

__all__ = ["Environment", "read_environment"]

PACKAGES = (
    "deploykit",
    "numpy",
    "Pillow",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "torch",
    "timm",
    "ultralytics",
)
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "KMP_AFFINITY",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Machine, limits, versions and settings at the time of a measurement."""

    time: str
    system: str
    python: str
    cpu: Cpu
    packages: Mapping[str, str]
    variables: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def warnings(self) -> tuple[str, ...]:
        """Reasons, in sentences, why numbers measured here are hard to trust."""
        found = []
        cpu = self.cpu
        if cpu.load and cpu.load[0] > cpu.usable * 0.5:
            found.append(
                f"The machine was busy: load average {cpu.load[0]:.1f} on {cpu.usable} usable cores."
            )
        if cpu.quota is not None and cpu.quota < cpu.usable:
            found.append(
                f"The container may use {cpu.quota:g} cores' worth of time but sees {cpu.usable} cores; "
                "set --threads."
            )
        if cpu.governor and cpu.governor != "performance":
            found.append(f"The frequency governor is {cpu.governor!r}, so clock speed may change.")
        return tuple(found)


def read_environment() -> Environment:
    """The environment of this process, now. Imports no engine."""
    return Environment(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cpu=read_cpu(),
        packages=installed(*PACKAGES),
        variables={name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    )
