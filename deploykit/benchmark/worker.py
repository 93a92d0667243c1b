"""One side of a comparison in a process of its own: ``python -m deploykit.benchmark.worker``.

Two engines in one process fight: the threads of one spin on the cores while the other computes, and
OpenMP runtimes are shared (two ONNX Runtime sessions in turns take twice as long as each alone).

The parent writes one JSON document per line and reads one per line. The first says what to open; then
``warm`` and ``time`` run calls of a case. A closed input ends the process.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.machine.exhausted import exhausted
from deploykit_runtimes.machine.memory_limit import limit_memory
from deploykit_runtimes.runner import Runner

from deploykit.benchmark.run import feeds_for
from deploykit.benchmark.target import BenchTarget
from deploykit.benchmark.timing import warm_up
from deploykit.process.hooks import install

__all__ = ["serve"]


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answer the parent until it closes its end."""
    runner: Runner | None = None
    feeds: dict[int, dict[str, Any]] = {}
    for line in lines:
        request = json.loads(line)
        try:
            if "open" in request:
                started = time.perf_counter()
                runner = target_from(request["open"]).open()
                seconds = time.perf_counter() - started
                imgsz = request["imgsz"] and tuple(request["imgsz"])
                feeds = {batch: feeds_for(runner.spec, batch, imgsz) for batch in request["batches"]}
                answer = _opened(runner, feeds, seconds)
            elif runner is not None:
                answer = _run(runner, feeds[request["batch"]], request)
            else:
                continue
        except DeploykitError as error:
            answer = {
                "error": type(error).__name__,
                "problem": error.problem,
                "hint": error.hint,
            }
        except Exception as error:
            if (problem := exhausted(error)) is None:
                raise
            answer = {"error": "DeploykitError", "problem": problem, "hint": ""}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def target_from(facts: Mapping[str, Any]) -> BenchTarget:
    """A target from its JSON form."""
    options = dict(facts["options"])
    options["cache"] = options["cache"] and Path(options["cache"])
    return BenchTarget(
        name=facts["name"],
        model=Path(facts["model"]),
        reference=facts["reference"],
        options=EngineOptions(**options),
    )


def _opened(runner: Runner, feeds: Mapping[int, Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    return {
        "placement": runner.placement().to_dict(),
        "load_seconds": seconds,
        "shapes": {batch: list(next(iter(feed.values())).shape) for batch, feed in feeds.items()},
    }


def _run(runner: Runner, feed: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    if "warm" in request:
        return {"calls": warm_up(lambda: runner.infer(feed), runs=request["warm"])}
    runner.infer(feed)  # untimed: wakes the threads that slept while others were measured
    samples: list[float] = []
    gc.collect()
    gc.disable()
    until = time.perf_counter() + request["seconds"]
    while len(samples) < request["most"] and (not samples or time.perf_counter() < until):
        begin = time.perf_counter()
        runner.infer(feed)
        samples.append(time.perf_counter() - begin)
    gc.enable()
    return {"samples": samples}


def _main() -> None:
    # Engines print what they like on stdout; the answers get a channel that only they use.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    install()
    limit_memory()
    serve(sys.stdin, channel)


if __name__ == "__main__":
    _main()
