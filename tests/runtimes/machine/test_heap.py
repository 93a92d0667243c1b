"""Freed memory that the allocator keeps."""

from __future__ import annotations

import subprocess
import sys

import pytest

BELOW_SOMETHING = """
from deploykit_runtimes.machine.heap import return_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

blocks = [bytes(100_000) for _ in range(1000)]
kept = blocks[::100]
del blocks
before = resident()
return_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps it: run this on Linux")
def test_it_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", BELOW_SOMETHING], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000
