"""The benchmark of serving: what it does when something is missing, fails, or is ended half-way."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SERVING = Path(__file__).parents[2] / "benchmarks" / "serving"
REPORT = """Running 2s test @ http://127.0.0.1:9100/v2/models/b0/infer
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   117.04ms   10.10ms 152.20ms   79.21%
    Req/Sec   136.89     26.05   191.00     68.42%
  Latency Distribution
     50%  980.00us
     75%  121.19ms
     90%  128.11ms
     99%    1.46s
  267 requests in 2.01s, 1.08MB read
{wrong}Requests/sec:    132.96
Transfer/sec:    549.14KB
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The input and output of EfficientNet-B0, with next to no work between them."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])],
        [numpy_helper.from_array(np.ones((3, 1000), np.float32), "weights")],
    )
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def peer(folder: Path, name: str, script: str) -> str:
    """An executable in place of a peer's Python."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SERVING / "compare.py"), *map(str, arguments)]


def with_wrk(folder: Path) -> dict[str, str]:
    """An environment in which wrk is found; it is not called where no server answers."""
    tools = folder / "tools"
    tools.mkdir()
    peer(tools, "wrk", "exit 1")
    return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}


def compare(*arguments: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=env, capture_output=True, text=True, check=False)


def test_without_wrk_it_says_what_to_install(tmp_path: Path, model: Path) -> None:
    done = compare("--model", model, env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 2
    assert "apt-get install wrk" in done.stderr


def test_peers_that_fail_are_told_with_the_reason_and_end_nothing(tmp_path: Path, model: Path) -> None:
    results = tmp_path / "results.json"
    done = compare(
        *("--model", model, "--seconds", 1, "--rounds", 1, "--servers", "fastapi,ray,bentoml"),
        *("--peer", f"fastapi={peer(tmp_path, 'broken', 'echo no such module; exit 1')}"),
        *("--peer", f"bentoml={tmp_path / 'nowhere'}", "--json", results),
        env=with_wrk(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "not run: it does not answer: no such module" in lines["fastapi"]
    assert "not run: no --peer ray=PYTHON" in lines["ray"]
    assert "not run: [Errno 2]" in lines["bentoml"]
    (one,) = json.loads(results.read_text())["rounds"]
    assert set(one["not_run"]) == {"fastapi", "ray", "bentoml"}
    assert one["servers"] == {}
    assert one["ceiling"]["1 thread per caller"] > 0


def kept(rates: list[tuple[float, float]]) -> dict[str, Any]:
    """Rounds of a ceiling and a server's rate."""
    figures = {"requests": 1.0, "p50_ms": 9.0, "p99_ms": 9.0}
    return {
        "rounds": [
            {
                "ceiling": {"1 thread per caller": top, "1 caller, all threads": 1.0, "latency_ms": 5.0},
                "servers": {"ray": {n: {**figures, "per_second": rate} for n in ("1", "4", "16", "32")}},
                "not_run": {},
            }
            for top, rate in rates
        ]
    }


def test_kept_rounds_count_and_shares_are_taken_within_a_round(tmp_path: Path, model: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps(kept([(100, 90), (200, 100), (300, 240)])))
    done = compare(
        *("--model", model, "--rounds", 3, "--servers", "ray", "--json", results, "--resume"),
        env=with_wrk(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert "16 clients:  100.0/s =  80.0 % of the ceiling" in done.stdout
    assert "adds +4.00 ms" in done.stdout


def test_resuming_tries_what_lacks_and_keeps_what_was_found(tmp_path: Path, model: Path) -> None:
    results = tmp_path / "results.json"
    before = kept([(100, 90)])
    results.write_text(json.dumps(before))
    done = compare(
        *("--model", model, "--seconds", 1, "--rounds", 2, "--servers", "ray", "--json", results, "--resume"),
        env=with_wrk(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads(results.read_text())["rounds"]
    assert [first] == before["rounds"]
    assert second["not_run"].keys() == {"ray"}
    assert "90.0 % of the ceiling" in done.stdout
    assert "not run in 1 rounds: no --peer" in done.stdout


def test_results_are_not_overwritten(tmp_path: Path, model: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text("{}")
    done = compare("--model", model, "--json", results, env=with_wrk(tmp_path))
    assert done.returncode == 2
    assert "--resume" in done.stderr
    assert results.read_text() == "{}"


SLEEPER = """#!{python}
import os, signal, sys, time
if os.fork():
    time.sleep(600)
os.setpgid(0, 0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("{told}.part", "w") as file:
    file.write(str(os.getpid()))
os.rename("{told}.part", "{told}")
time.sleep(600)
"""


def test_when_ended_it_ends_the_server_and_what_that_started(tmp_path: Path, model: Path) -> None:
    told, sleeper = tmp_path / "told", tmp_path / "sleeper"
    sleeper.write_text(SLEEPER.format(python=sys.executable, told=told))
    sleeper.chmod(0o755)
    arguments = ("--model", model, "--seconds", 1, "--servers", "ray", "--peer", f"ray={sleeper}")
    process = subprocess.Popen(command(*arguments), env=with_wrk(tmp_path), stderr=subprocess.PIPE, text=True)
    while not told.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert "no server is left behind" in said
    assert not alive(int(told.read_text()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def read(report: str) -> dict[str, float]:
    found: dict[str, float] = runpy.run_path(str(SERVING / "load.py"))["read"](report)
    return found


def test_figures_of_wrk() -> None:
    assert read(REPORT.format(wrong="")) == {
        "requests": 267,
        "per_second": 132.96,
        "p50_ms": 0.98,
        "p99_ms": 1460,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
        "  Non-2xx or 3xx responses: 12\n",
    ],
)
def test_load_that_failed_in_part_counts_for_nothing(wrong: str) -> None:
    with pytest.raises(RuntimeError, match=wrong.strip()):
        read(REPORT.format(wrong=wrong))
