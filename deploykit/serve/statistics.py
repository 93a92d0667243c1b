"""Counts and times of a model's requests, as Triton's statistics extension names them.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Statistics", "Timing"]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Where the time of a request went, in nanoseconds.

    Attributes:
        queue_ns: Waiting for an instance.
        compute_input_ns: Putting its batch together.
        compute_infer_ns: In the engine.
        compute_output_ns: Taking the batch apart.
    """

    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int

    @property
    def total_ns(self) -> int:
        """The sum of all stages."""
        return self.queue_ns + self.compute_input_ns + self.compute_infer_ns + self.compute_output_ns


@dataclass
class _Counter:
    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def to_dict(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


_STAGES = ("compute_input", "compute_infer", "compute_output")


@dataclass
class Statistics:
    """The counters of one model, safe to use from several threads."""

    _requests: dict[str, _Counter] = field(
        default_factory=lambda: {
            name: _Counter() for name in ("success", "fail", "queue", *_STAGES, "cache_hit", "cache_miss")
        }
    )
    _batches: dict[int, dict[str, _Counter]] = field(default_factory=dict)
    _rows: int = 0
    _runs: int = 0
    _last_ms: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def succeeded(self, rows: int, timing: Timing) -> None:
        """Count an answered request and its rows."""
        with self._lock:
            self._rows += rows
            requests = self._requests
            requests["success"].add(timing.total_ns)
            requests["queue"].add(timing.queue_ns)
            requests["compute_input"].add(timing.compute_input_ns)
            requests["compute_infer"].add(timing.compute_infer_ns)
            requests["compute_output"].add(timing.compute_output_ns)

    def failed(self, ns: int) -> None:
        """Count a request that failed."""
        with self._lock:
            self._requests["fail"].add(ns)

    def executed(self, rows: int, timing: Timing) -> None:
        """Count one run of the engine on a batch, with its rows."""
        with self._lock:
            self._runs += 1
            self._last_ms = max(0, time.time_ns() // 1_000_000)  # a clock may be set to anything
            batch = self._batches.get(rows)
            if batch is None:
                batch = self._batches[rows] = {stage: _Counter() for stage in _STAGES}
            batch["compute_input"].add(timing.compute_input_ns)
            batch["compute_infer"].add(timing.compute_infer_ns)
            batch["compute_output"].add(timing.compute_output_ns)

    def to_dict(self) -> dict[str, Any]:
        """The counters under Triton's names."""
        with self._lock:
            return {
                "last_inference": self._last_ms,
                "inference_count": self._rows,
                "execution_count": self._runs,
                "inference_stats": {name: counter.to_dict() for name, counter in self._requests.items()},
                "batch_stats": [
                    {"batch_size": rows, **{stage: counter.to_dict() for stage, counter in batch.items()}}
                    for rows, batch in sorted(self._batches.items())
                ],
            }
