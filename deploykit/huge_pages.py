"""Huge pages for a process that lives by its memory's speed."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path

__all__ = ["use_huge_pages"]

_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_VARIABLE, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_SINCE = (2, 35)
"""The first glibc that has the setting."""


def use_huge_pages() -> None:
    """Start the program over in this process, with a malloc that asks the kernel for huge pages.

    The weights and activations of a network fill many megabytes, and in pages of 4 kB the CPU spends a part
    of its time looking up where they are (``benchmarks/serving/huge_pages.py`` measures it). glibc reads the
    setting when a program starts, and at no other time. Nothing happens where it is set already, to
    whatever value, where there is no such setting, and where the kernel gives huge pages to everybody or
    to nobody.

    https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html
    """
    tunables = os.environ.get(_VARIABLE, "")
    if _TUNABLE in tunables or not _on_request() or not _has_setting():
        return
    os.environ[_VARIABLE] = ":".join(filter(None, (tunables, f"{_TUNABLE}=1")))
    with contextlib.suppress(OSError):  # slower pages do as well
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself


def _on_request() -> bool:
    """Whether the kernel gives huge pages to those who ask for them, and to no others."""
    try:
        return "[madvise]" in _MODE.read_text()
    except OSError:
        return False


def _has_setting() -> bool:
    name, version = platform.libc_ver()
    numbers = version.split(".")[:2]
    return name == "glibc" and all(map(str.isdecimal, numbers)) and tuple(map(int, numbers)) >= _SINCE
