"""ONNX Runtime alone: print as JSON how often a session runs per second, and how long one run takes.

    python benchmarks/serving/ceiling.py MODEL SECONDS

Two ways of using the cores, SECONDS each: one caller, whose session takes all of them, and one caller per
core, with one thread each. There is neither server nor client. "latency_ms" is the median of the lone caller.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from typing import Any

import numpy as np
import onnxruntime

TENSOR = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
ONE_CALLER = "1 caller, all threads"
ONE_EACH = "1 thread per caller"


def bare_sessions(path: str, seconds: float) -> dict[str, float]:
    """Runs per second by the name of the way, and "latency_ms"."""
    cores = len(os.sched_getaffinity(0))
    found = {}
    for name, threads, callers in ((ONE_CALLER, cores, 1), (ONE_EACH, 1, cores)):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        if callers > 1:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {"images": TENSOR})
        times: list[float] = []
        began = time.perf_counter()
        workers = [
            threading.Thread(target=_call, args=(session, began + seconds, times)) for _ in range(callers)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found[name] = len(times) / (time.perf_counter() - began)
        if callers == 1:
            found["latency_ms"] = 1e3 * statistics.median(times)
    return found


def _call(session: Any, end: float, times: list[float]) -> None:
    while (began := time.perf_counter()) < end:
        session.run(None, {"images": TENSOR})
        times.append(time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(bare_sessions(sys.argv[1], float(sys.argv[2]))))
