"""Facts about the machine, read from where Linux keeps them; unknown facts are empty or None.

Readers take a ``root``, so that made-up machines can be tested.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.machine.cpu import cpu_class, cpu_field, cpu_flags
from deploykit_runtimes.machine.memory_limit import container_memory

__all__ = ["Cpu", "installed", "read_cpu"]

FLAGS_OF_INTEREST = (
    "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
    "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
"""CPU flags that inference kernels choose by, x86 and Arm."""


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """The processor, and how much of it this process may use.

    Attributes:
        flags: The ``FLAGS_OF_INTEREST`` that it has.
        kind: Its class, by how it multiplies bytes; see ``cpu_class``.
        cores: Logical cores of the machine.
        usable: Logical cores that the process may run on (affinity).
        quota: Cores' worth of time that a container allows, None when unlimited.
        mhz: Current frequency of the first core, None when unknown.
        governor: Frequency governor, empty when unknown.
        load: Load averages of 1, 5 and 15 minutes; empty when unknown.
        memory_limit: Bytes that a container allows, None when unlimited.
    """

    model: str
    architecture: str
    flags: tuple[str, ...] = ()
    kind: str = ""
    cores: int = 1
    usable: int = 1
    quota: float | None = None
    mhz: float | None = None
    governor: str = ""
    load: tuple[float, ...] = ()
    memory_limit: int | None = None


def read_cpu(root: Path = Path("/")) -> Cpu:
    """The processor of this machine, or of the file tree under ``root``."""
    info = _text(root / "proc/cpuinfo")
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    khz = _number(_text(frequency / "scaling_cur_freq"))
    have = cpu_flags(root)
    load = _text(root / "proc/loadavg").split()[:3]
    return Cpu(
        model=cpu_field(info, "model name", "Hardware", "CPU part") or platform.processor() or "unknown",
        architecture=platform.machine(),
        flags=tuple(flag for flag in FLAGS_OF_INTEREST if flag in have),
        kind=cpu_class(root),
        cores=os.cpu_count() or 1,
        usable=usable_cores(),
        quota=_quota(root),
        mhz=khz / 1000 if khz else _number(cpu_field(info, "cpu MHz")),
        governor=_text(frequency / "scaling_governor"),
        load=tuple(float(value) for value in load if _number(value) is not None),
        memory_limit=container_memory(root),
    )


def installed(*names: str) -> dict[str, str]:
    """Versions of the installed distributions among those of interest, without importing them."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else None


def _quota(root: Path) -> float | None:
    """CPU time limit of control groups: version 2 (``cpu.max``), then version 1."""
    words = _text(root / "sys/fs/cgroup/cpu.max").split()
    if len(words) != 2:
        folder = root / "sys/fs/cgroup/cpu"
        words = [_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")]
    quota, period = (_number(word) for word in words)
    return quota / period if quota and period else None
