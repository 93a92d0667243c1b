"""Does memory grow over thousands of calls with changing shapes, and are the answers right throughout?

    python benchmarks/memory.py MODEL.onnx... [--runtime ort-cpu,ov-cpu] [--calls 10000] [--distinct 64]
        [--callers 8]

Each engine runs in a process of its own and is called by several threads at once. Shapes are drawn from a
fixed set of batches and sizes that the model declares (``--distinct`` of them). Every answer is compared with
that of ONNX Runtime's CPU provider to a single caller, as a share of the largest number in it. Resident
memory is read after every shape was seen and warmed up, and then again and again; the growth printed is that
from the first quarter of the calls to the last.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.open import open_runner

from deploykit.benchmark.run import feeds_for

LIMIT_MB = 8.0
"""Growth that is still called none: allocators return memory to the system in pieces of this order."""

TOLERANCE = 1e-4
"""Largest difference between engines, of the output's scale."""


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


Shape = tuple[int, tuple[int, int]]


def difference(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """The largest one, as a share of the largest number that is wanted."""
    return max(
        float(np.abs(found[name] - array).max() / max(np.abs(array).max(), 1e-12))
        for name, array in wanted.items()
    )


def measure(
    model: Path, runtime: str, calls: int, distinct: int, max_side: int, callers: int
) -> dict[str, object]:
    """Resident memory over the calls, in this process."""
    generator = random.Random(1)
    with open_runner(model, options=EngineOptions(exact=True)) as cpu:
        shapes = shapes_of(cpu.spec, distinct, max_side)
        largest = max(shapes, key=lambda shape: shape[0] * shape[1][0] * shape[1][1])
        feeds = Feeds(cpu.spec, *largest)
        wanted = {shape: cpu.infer(feeds.of(*shape)) for shape in shapes}
    with (
        open_runner(model, runtime=runtime, options=EngineOptions()) as runner,
        ThreadPoolExecutor(callers) as pool,
    ):

        def call(shape: Shape) -> float:
            return difference(runner.infer(feeds.of(*shape)), wanted[shape])

        # Everything twice, and then the most that can be under way at a time.
        worst = max(pool.map(call, [*shapes, *shapes, *[largest] * 8 * callers]))
        marks = []
        started = time.perf_counter()
        step = max(callers, calls // 40)
        for done in range(0, calls, step):
            drawn = [generator.choice(shapes) for _ in range(min(step, calls - done))]
            worst = max(worst, *pool.map(call, drawn))
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
        "difference": worst,
        "seconds": round(seconds, 1),
        "fails": growth > LIMIT_MB or not worst <= TOLERANCE,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--runtime", default="ort-cpu,ov-cpu")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--distinct", type=int, default=64)
    parser.add_argument("--max-side", type=int, default=320)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--alone", action="store_true", help="measure in this process, print JSON")
    options = parser.parse_args()
    limits = {name: getattr(options, name) for name in ("calls", "distinct", "max_side", "callers")}
    if options.alone:
        found = measure(options.models[0], options.runtime, **limits)
        print(json.dumps(found))
        return int(bool(found["fails"]))
    failed = 0
    for model in options.models:
        print(f"{model.name}, {read_onnx(model).spec().variant}")
        for runtime in options.runtime.split(","):
            failed |= apart(model, runtime, limits)
    return failed


def apart(model: Path, runtime: str, limits: dict[str, int]) -> int:
    """Measure in a process of its own, print a line, return 1 for what fails."""
    command = [sys.executable, __file__, str(model), "--alone", "--runtime", runtime]
    for name, value in limits.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        print(f"{runtime}: {done.stderr.strip().splitlines()[-1]}")
        return 1
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(
        f"{runtime:<10} {found['calls']} calls of {found['shapes']} shapes by {limits['callers']} threads in "
        f"{found['seconds']} s: {found['start_mb']} -> {found['end_mb']} MB, growth {found['growth_mb']} MB, "
        f"answers within {found['difference']:.1e}",
        flush=True,
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
