"""Which instructions a processor has, and its class: how it multiplies bytes, which INT8 models depend on."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from typing import Literal

__all__ = ["ARM", "X86", "CpuClass", "cpu_class", "cpu_field", "cpu_flags"]

CpuClass = Literal["vnni", "no-vnni", "arm-dot", "arm", "other"]

X86, ARM = ("x86_64", "amd64", "i386", "i686"), ("aarch64", "arm64", "armv7l", "armv8l")
_VNNI = ("avx512_vnni", "avx_vnni")
_DOT = "asimddp"


def cpu_class(root: Path = Path("/"), *, architecture: str | None = None) -> CpuClass:
    """How the processor multiplies bytes.

    ``vnni``: x86 with instructions that add products of bytes in 32 bits. ``no-vnni``: x86 where they are
    added in pairs in 16 bits, which saturate, or where nobody tells the flags. ``arm-dot``: Arm with dot
    products. ``arm``: Arm without.

    Args:
        root: Root of the file tree that describes the machine.
        architecture: As ``platform.machine`` names it; None: this machine's.
    """
    machine = (architecture or platform.machine()).lower()
    flags = cpu_flags(root)
    if machine in X86:
        return "vnni" if flags.intersection(_VNNI) else "no-vnni"
    if machine in ARM:
        return "arm-dot" if _DOT in flags or sys.platform == "darwin" else "arm"
    return "other"


def cpu_flags(root: Path = Path("/")) -> frozenset[str]:
    """The instruction sets of the processor, as Linux names them; empty if they are unknown."""
    return frozenset(cpu_field(_cpuinfo(root), "flags", "Features").split())


def cpu_field(info: str, *names: str) -> str:
    """The first value of the first of these names in the form of /proc/cpuinfo."""
    for name in names:
        if found := re.search(rf"^{re.escape(name)}\s*:[ \t]*(.+)$", info, flags=re.MULTILINE):
            return found[1].strip()
    return ""


def _cpuinfo(root: Path) -> str:
    try:
        return (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
