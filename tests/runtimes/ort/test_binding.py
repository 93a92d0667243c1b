"""Bound buffers, on the CPU, where the path is the same as on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from deploykit_runtimes.ort import binding as ort_binding
from deploykit_runtimes.ort.binding import BoundCalls


@pytest.fixture
def session(write_classifier: Callable[..., Path]) -> Any:
    return onnxruntime.InferenceSession(write_classifier(), providers=["CPUExecutionProvider"])


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_answers_are_right_at_every_shape_and_belong_to_the_caller(session: Any) -> None:
    calls = BoundCalls(onnxruntime, session, device="cpu")
    kept = []
    for seed, shape in enumerate([(1, 3, 8, 8), (2, 3, 16, 8), (1, 3, 8, 8), (4, 3, 8, 16)]):
        batch = images(*shape, seed=seed)
        found = calls.run({"images": batch})["logits"]
        kept.append((found, batch.mean((2, 3))))
    for found, expected in kept:
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_array_in_any_memory_order_is_taken(session: Any) -> None:
    batch = images(2, 8, 16, 3).transpose(0, 3, 1, 2)
    found = BoundCalls(onnxruntime, session, device="cpu").run({"images": batch})["logits"]
    np.testing.assert_allclose(found, batch.mean((2, 3)), atol=1e-6)


def test_buffers_of_the_shape_unused_for_longest_are_given_back(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_binding, "_MAX_SHAPES", 2)
    calls = BoundCalls(onnxruntime, session, device="cpu")
    for side in (8, 16, 8, 24):
        calls.run({"images": images(1, 3, side, side)})
    assert [key[0][-1] for key in calls._bound] == [8, 24]


def test_each_shape_records_a_graph_of_its_own(session: Any) -> None:
    ids: list[str] = []

    class RunOptions:
        def add_run_config_entry(self, key: str, value: str) -> None:
            assert key == "gpu_graph_id"
            ids.append(value)

    fake = SimpleNamespace(OrtValue=onnxruntime.OrtValue, RunOptions=RunOptions)
    calls = BoundCalls(fake, session, device="cpu", record=True)
    calls._bind({"images": images(1, 3, 8, 8)})
    calls._bind({"images": images(1, 3, 16, 8)})
    assert ids == ["0", "1"]


def test_threads_take_turns(session: Any, wrong_in_threads: Callable[..., list[int]]) -> None:
    calls = BoundCalls(onnxruntime, session, device="cpu")
    batches = [images(1 + n % 3, 3, 8, 8, seed=n) for n in range(8)]
    assert wrong_in_threads(calls.run, batches, 20) == []
