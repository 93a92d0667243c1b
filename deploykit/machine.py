"""Facts about the machine, read from where Linux keeps them; absent facts are empty or None.

Reading takes a ``root`` so that made-up machines can be tested.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deploykit_runtimes.machine.cores import usable_cores
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
        flags: Those of ``FLAGS_OF_INTEREST`` that it has.
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
    load = _text(root / "proc/loadavg").split()[:3]
    return Cpu(
        model=_field(info, "model name", "Hardware", "CPU part") or platform.processor() or "unknown",
        architecture=platform.machine(),
        flags=_flags(_field(info, "flags", "Features")),
        cores=os.cpu_count() or 1,
        usable=usable_cores(),
        quota=_quota(root),
        mhz=khz / 1000 if khz else _number(_field(info, "cpu MHz")),
        governor=_text(frequency / "scaling_governor"),
        load=tuple(float(value) for value in load if _number(value) is not None),
        memory_limit=container_memory(root),
    )


def installed(*names: str) -> dict[str, str]:
    """Versions of those distributions that are installed, without importing them."""
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


def _field(info: str, *names: str) -> str:
    """The first value of the first of these names in the form of /proc/cpuinfo."""
    for name in names:
        if found := re.search(rf"^{re.escape(name)}\s*:[ \t]*(.+)$", info, flags=re.MULTILINE):
            return found[1].strip()
    return ""


def _flags(line: str) -> tuple[str, ...]:
    have = set(line.split())
    return tuple(flag for flag in FLAGS_OF_INTEREST if flag in have)


def _quota(root: Path) -> float | None:
    """CPU time limit of control groups: version 2 (``cpu.max``), then version 1."""
    words = _text(root / "sys/fs/cgroup/cpu.max").split()
    if len(words) != 2:
        folder = root / "sys/fs/cgroup/cpu"
        words = [_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")]
    quota, period = (_number(word) for word in words)
    return quota / period if quota and period else None
