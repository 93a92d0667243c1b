"""A server whose wall clock is set while it runs: durations, deadlines and reloading do not hear of it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

DAY = 24 * 3600
JUMPS = {
    "an hour back": -3600,
    "an hour on": 3600,
    "ten years on": 3650 * DAY,
    "forty years back": -14_600 * DAY,
    "before the epoch": -30_000 * DAY,
    "as it was": 0,
}
TENSOR = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
PATIENCE = 120.0


@pytest.fixture
def clock(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file whose number of seconds moves the clock of processes with some environment."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler is installed: apt-get install g++")
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    offset.write_bytes(struct.pack("<q", 0))
    return offset, {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}


def set_to(offset: Path, seconds: int) -> None:
    with offset.open("r+b") as file:  # in place: it is mapped
        file.write(struct.pack("<q", seconds))


def test_the_clock_that_is_set_is_the_clock(clock: tuple[Path, dict[str, str]]) -> None:
    offset, environment = clock
    set_to(offset, -30_000 * DAY)
    command = [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    wall, monotonic = map(float, done.stdout.split())
    assert wall < 0 < monotonic


def test_a_clock_that_is_set_changes_nothing(
    classifier: Path,
    other_classifier: Path,
    tmp_path: Path,
    clock: tuple[Path, dict[str, str]],
    start: Callable[..., Any],
) -> None:
    import tritonclient.grpc

    offset, environment = clock
    path = tmp_path / "model.onnx"
    shutil.copy(classifier, path)
    options = ("--poll", "0.05", "--max-batch", "4", "--max-delay", "20", "--instances", "1")
    settings = [f"{name}={value}" for name, value in environment.items()]
    served = start(str(path), *options, wrap=lambda command: ["env", *settings, *command])
    ready = served.ready()
    port = int(ready["url"].rpartition(":")[2])
    began = time.monotonic()
    asked = 0
    with tritonclient.grpc.InferenceServerClient(ready["grpc"]) as client:
        for turn, seconds in enumerate(JUMPS.values()):
            set_to(offset, seconds)
            for _ in range(3):
                assert infer(port) == 200
                given = tritonclient.grpc.InferInput("images", [1, 3, 32, 32], "FP32")
                given.set_data_from_numpy(TENSOR)
                client.infer("model", [given], client_timeout=PATIENCE)
                asked += 2
            # The only time of day in the answers; the protocol cannot express one before 1970.
            [numbers] = get(port, "/v2/models/model/stats")["model_stats"]
            told = client.get_inference_statistics("model").model_stats[0].last_inference
            assert told == numbers["last_inference"]
            assert abs(told / 1e3 - max(0.0, time.time() + seconds)) < 2 * PATIENCE
            # Another file is another file, whenever it says that it was written.
            draft = tmp_path / "draft"
            shutil.copy((other_classifier, classifier)[turn % 2], draft)
            written = (0, time.time() + 3650 * DAY)[turn % 2]
            os.utime(draft, (written, written))
            os.replace(draft, path)
            deadline = time.monotonic() + PATIENCE
            while get(port, "/v2/models/model")["versions"] != [str(turn + 2)]:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert get(port, "/v2/health/ready") == {"ready": True}
    elapsed = time.monotonic() - began
    for family in text_string_to_metric_families(get(port, "/metrics")):
        for sample in family.samples:
            if sample.name.startswith("deploykit_") and not sample.name.endswith("_created"):
                assert sample.value >= 0, sample
            if sample.name in ("deploykit_request_seconds_sum", "deploykit_stage_seconds_sum"):
                assert sample.value <= elapsed, sample
            if sample.name == "deploykit_stage_seconds_count":
                assert sample.value == asked
    code, log = served.end()
    assert code == 0, log
    assert "Traceback" not in log


def infer(port: int) -> int:
    entry = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32"}
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": TENSOR.nbytes}}]}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        path, length = "/v2/models/model/infer", {"Inference-Header-Content-Length": str(len(head))}
        connection.request("POST", path, head + TENSOR.tobytes(), length)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        content = response.read().decode()
        return json.loads(content) if response.headers["Content-Type"] == "application/json" else content
    finally:
        connection.close()
