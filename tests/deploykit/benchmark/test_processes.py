"""Several engines compared, each in a process of its own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from deploykit_runtimes.errors import InputError, OptionError, RuntimeUnavailableError

from deploykit.benchmark.options import BenchOptions
from deploykit.benchmark.processes import Worker, take_turns
from deploykit.benchmark.run import bench
from deploykit.benchmark.target import BenchTarget
from deploykit.benchmark.worker import serve
from deploykit.checkup.tiny import tiny_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


class Side:
    """Calls that all take the same time."""

    def __init__(self, name: str, seconds: float, log: list[str]) -> None:
        self.name, self.seconds, self.log = name, seconds, log

    def time(self, batch: int, *, seconds: float, most: int) -> list[float]:
        self.log.append(self.name)
        return [self.seconds] * max(1, min(most, int(seconds / self.seconds)))


def test_two_engines_say_what_ran_where(model: Path) -> None:
    said: list[str] = []
    found = bench(model, BenchOptions(runtimes=("ort-cpu", "ov"), runs=3, warmup=1), report=said.append)
    assert [row.name for row in found.rows] == ["ort-cpu, batch 1", "ov-cpu, batch 1"]
    assert [row.placement.engine for row in found.rows] == ["onnxruntime", "openvino"]
    assert all(row.summary.runs == 3 and row.load_seconds for row in found.rows)
    assert {row.shape for row in found.rows} == {(1, 3, 8, 8)}
    assert any("process of its own" in text for text in said)


def test_an_engine_that_cannot_open_is_the_same_error_as_alone(model: Path) -> None:
    options = BenchOptions(runtimes=("ort-cpu", "ort-cuda"), runs=1)
    with pytest.raises(RuntimeUnavailableError, match="CUDAExecutionProvider") as caught:
        bench(model, options)
    assert caught.value.hint


def test_an_unknown_name_lists_torch_too(model: Path) -> None:
    with pytest.raises(OptionError, match="torch"):
        bench(model, BenchOptions(runtimes=("abacus",)))


def test_a_worker_that_dies_is_told(model: Path) -> None:
    with Worker(BenchTarget(name="ort-cpu", model=model), batches=(1,)) as worker:
        worker._process.kill()
        with pytest.raises(RuntimeUnavailableError, match="ended with signal 9"):
            worker.warm(1)


@pytest.mark.parametrize("runs", [1, 7, 100])
def test_blocks_add_up_to_the_runs(runs: int) -> None:
    log: list[str] = []
    cases = {name: (Side(name, 0.1, log), 1) for name in "abc"}
    found = take_turns(cases, runs=runs)  # type: ignore[arg-type]
    assert {len(samples) for samples in found.values()} == {runs}


def test_the_order_turns_and_time_is_shared() -> None:
    log: list[str] = []
    cases = {"fast": (Side("fast", 0.01, log), 1), "slow": (Side("slow", 0.2, log), 1)}
    found = take_turns(cases, seconds=2.0)  # type: ignore[arg-type]
    assert log[:4] == ["fast", "slow", "slow", "fast"]
    assert sum(found["fast"]) == pytest.approx(2.0, abs=0.3)
    assert sum(found["slow"]) == pytest.approx(2.0, abs=0.3)


def test_a_very_slow_case_ends_before_five_samples() -> None:
    found = take_turns({"slow": (Side("slow", 10.0, []), 1)}, seconds=1.0)  # type: ignore[dict-item]
    assert len(found["slow"]) == 1


def test_the_protocol_is_one_line_for_one_line(model: Path) -> None:
    options = {"threads": 1, "cache": None}
    target = {"name": "ort-cpu", "model": str(model), "reference": None, "options": options}
    requests: list[dict[str, Any]] = [
        {"open": target, "batches": [1], "imgsz": None},
        {"batch": 1, "warm": 2},
        {"batch": 1, "seconds": 0.01, "most": 3},
    ]
    answers = io.StringIO()
    serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), answers)
    opened, warmed, timed = (json.loads(line) for line in answers.getvalue().splitlines())
    assert opened["shapes"] == {"1": [1, 3, 8, 8]}
    assert warmed == {"calls": 2}
    assert 1 <= len(timed["samples"]) <= 3


def test_an_error_of_the_model_comes_back_as_itself(model: Path) -> None:
    with (
        Worker(BenchTarget(name="ort-cpu", model=model), batches=(2,)) as worker,
        pytest.raises(InputError, match="fixed to 1"),
    ):
        worker.warm(2)
