"""Does memory grow over thousands of calls with changing shapes?

    python benchmarks/memory.py MODEL.onnx [--runtime ort-cpu,ov-cpu] [--calls 10000] [--distinct 64]

Each engine runs in a process of its own. Shapes are drawn from a fixed set of batches and sizes that the
model declares (``--distinct`` of them). Resident memory is read after every shape was seen once and warmed
up, and then again and again; the growth printed is that from the first quarter of the calls to the last.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.onnx_file import read_onnx
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.spec import ModelSpec

from deploykit.benchmark.run import feeds_for

LIMIT_MB = 8.0
"""Growth that is still called none: allocators return memory to the system in pieces of this order."""


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def shapes_of(spec: ModelSpec, distinct: int, max_side: int) -> list[tuple[int, tuple[int, int]]]:
    """Batches and sizes (height, width) to draw from, the same in every run."""
    free = spec.input.dynamic
    generator = random.Random(0)

    def draw(axis: str, own: int, most: int) -> int:
        if axis not in free:
            return own
        allowed = free[axis]
        first = -(-allowed.min // allowed.step) * allowed.step
        last = max(first, min(allowed.max, most))
        return generator.randrange(first, last + 1, allowed.step)

    drawn = {
        (
            draw("batch", spec.input.batch, 4),
            (draw("height", spec.input.height, max_side), draw("width", spec.input.width, max_side)),
        )
        for _ in range(distinct * 20)
    }
    return sorted(drawn)[:: max(1, len(drawn) // distinct)][:distinct]


class Feeds:
    """Feeds of any shape in the memory of the largest one, so that they add nothing to what is measured."""

    def __init__(self, spec: ModelSpec, batch: int, size: tuple[int, int]) -> None:
        self._spec = spec
        self._largest = feeds_for(spec, batch, size)
        self._pixels = self._largest[spec.input.name].reshape(-1)

    def of(self, batch: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
        image = self._spec.input
        shape = (batch, image.channels, *size) if image.layout == "NCHW" else (batch, *size, image.channels)
        return {**self._largest, image.name: self._pixels[: math.prod(shape)].reshape(shape)}


def measure(model: Path, runtime: str, calls: int, distinct: int, max_side: int) -> dict[str, object]:
    """Resident memory over the calls, in this process."""
    generator = random.Random(1)
    with open_runner(model, runtime=runtime, options=EngineOptions()) as runner:
        shapes = shapes_of(runner.spec, distinct, max_side)
        largest = max(shapes, key=lambda shape: shape[0] * shape[1][0] * shape[1][1])
        feeds = Feeds(runner.spec, *largest)
        for _ in range(2):
            for shape in shapes:
                runner.infer(feeds.of(*shape))
        marks = []
        started = time.perf_counter()
        for call in range(calls):
            runner.infer(feeds.of(*generator.choice(shapes)))
            if call % max(1, calls // 40) == 0:
                marks.append(resident_mb())
        seconds = time.perf_counter() - started
    quarter = max(1, len(marks) // 4)
    growth = max(marks[-quarter:]) - max(marks[:quarter])
    return {
        "runtime": runtime,
        "calls": calls,
        "shapes": len(shapes),
        "start_mb": round(marks[0], 1),
        "end_mb": round(marks[-1], 1),
        "growth_mb": round(growth, 1),
        "seconds": round(seconds, 1),
        "grows": growth > LIMIT_MB,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--runtime", default="ort-cpu,ov-cpu")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--distinct", type=int, default=64)
    parser.add_argument("--max-side", type=int, default=320)
    parser.add_argument("--alone", action="store_true", help="measure in this process, print JSON")
    options = parser.parse_args()
    if options.alone:
        found = measure(options.model, options.runtime, options.calls, options.distinct, options.max_side)
        print(json.dumps(found))
        return int(bool(found["grows"]))
    print(f"{options.model.name}, {read_onnx(options.model).spec().variant}")
    failed = 0
    for runtime in options.runtime.split(","):
        command = [sys.executable, __file__, str(options.model), "--alone", "--runtime", runtime]
        for name in ("calls", "distinct", "max_side"):
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout.strip():
            print(f"{runtime}: {done.stderr.strip().splitlines()[-1]}")
            failed = 1
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        failed |= done.returncode
        print(
            f"{runtime:<10} {found['calls']} calls of {found['shapes']} shapes in {found['seconds']} s: "
            f"{found['start_mb']} -> {found['end_mb']} MB, growth {found['growth_mb']} MB"
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
