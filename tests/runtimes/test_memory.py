"""Memory stays where it is over many calls with changing shapes; ``benchmarks/memory.py`` makes 10,000."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.open import open_runner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")

CALLS, LIMIT = 1500, 2 << 20


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("runtime", ["ort-cpu", "ov-cpu"])
def test_nothing_grows(write_classifier: Callable[..., Path], runtime: str) -> None:
    """A leak of a single output per call would add 0.3 MB, of an input 50 MB."""
    shapes = [(1 + n % 4, 3, 8 * (1 + n % 8), 8 * (1 + n % 5)) for n in range(40)]
    feeds = [{"images": np.ones(shape, np.float32)} for shape in shapes]
    with open_runner(write_classifier(), runtime=runtime, options=EngineOptions(threads=1)) as runner:
        for call in range(400):
            runner.infer(feeds[call % len(feeds)])
        before = resident()
        for call in range(CALLS):
            runner.infer(feeds[call % len(feeds)])
        assert resident() - before < LIMIT
