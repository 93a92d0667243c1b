"""Accelerators in the machine, whether or not their drivers are installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

__all__ = ["accelerators", "nvidia_gpus"]

_NVIDIA, _INTEL = "0x10de", "0x8086"


def accelerators(sys: Path = Path("/sys")) -> tuple[str, ...]:
    """Some of ``nvidia-gpu``, ``intel-gpu``, ``intel-npu``, as the kernel lists the devices.

    Args:
        sys: Where sysfs is mounted, so that made-up machines can be examined.
    """
    found = []
    if _NVIDIA in _vendors(sys.glob("bus/pci/devices/*/vendor")):
        found.append("nvidia-gpu")
    if _INTEL in _vendors(sys.glob("class/drm/card*/device/vendor")):
        found.append("intel-gpu")
    if _INTEL in _vendors(sys.glob("class/accel/accel*/device/vendor")):
        found.append("intel-npu")
    return tuple(found)


def _vendors(files: Iterable[Path]) -> set[str]:
    found = set()
    for file in files:
        try:
            found.add(file.read_text().strip())
        except OSError:
            continue
    return found


def nvidia_gpus() -> tuple[str, ...]:
    """Name, driver version and memory of each GPU, as nvidia-smi reports them; empty without it."""
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
    if done.returncode:
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
