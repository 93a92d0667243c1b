"""The server asks for huge pages where the kernel gives them on request, and where nobody said otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")

# What a program of its own sees that calls the function: its process, arguments and setting.
_PROGRAM = """
import os, sys
from deploykit.huge_pages import use_huge_pages
print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES", ""), flush=True)
use_huge_pages()
print("went on")
"""


def run(**env: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "serve", "a model.onnx"],
        env={**{key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def on_request() -> bool:
    glibc = platform.libc_ver()
    return (
        _MODE.is_file()
        and "[madvise]" in _MODE.read_text()
        and glibc[0] == "glibc"
        and tuple(map(int, glibc[1].split("."))) >= (2, 35)
    )


def test_the_program_starts_over_once_as_the_same_process() -> None:
    lines = run()
    if not on_request():
        assert len(lines) == 2
        return
    first, second, end = lines
    assert first.endswith("['serve', 'a model.onnx'] ")
    assert second == first + "glibc.malloc.hugetlb=1"
    assert end == "went on"


def test_other_settings_stay() -> None:
    tunables = run(GLIBC_TUNABLES="glibc.malloc.arena_max=4")[-2]
    assert "glibc.malloc.arena_max=4" in tunables
    assert ("glibc.malloc.arena_max=4:glibc.malloc.hugetlb=1" in tunables) == on_request()


@pytest.mark.parametrize("value", ["0", "1", "2"])
def test_the_users_own_choice_holds(value: str) -> None:
    lines = run(GLIBC_TUNABLES=f"glibc.malloc.hugetlb={value}")
    assert len(lines) == 2
    assert lines[0].endswith(f"glibc.malloc.hugetlb={value}")
