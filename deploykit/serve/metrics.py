"""Numbers for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from functools import cache

from deploykit_runtimes import __version__
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deploykit.serve.repository import Repository
from deploykit.serve.statistics import Timing

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_INFERENCE = frozenset({"infer", "predict", "ModelInfer", "ModelStreamInfer"})
_TOGETHER = 64
_STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


class Metrics:
    """The metrics of one server.

    Args:
        repository: The server's models.
    """

    def __init__(self, repository: Repository) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "deploykit_requests",
            "Requests by protocol, route and status.",
            ["protocol", "route", "status"],
            registry=self._registry,
        )
        self._request_of = cache(self._requests.labels)
        self._latency = Histogram(
            "deploykit_request_seconds",
            "From the head of an inference request to its answer.",
            ["protocol", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._latency_of = cache(self._latency.labels)
        stages = Histogram(
            "deploykit_stage_seconds",
            "Time of a model's requests per stage.",
            ["model", "stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        info = Gauge("deploykit_build_info", "The version.", ["version"], registry=self._registry)
        info.labels(__version__).set(1)
        self._registry.register(_Models(repository))
        ProcessCollector(registry=self._registry)

        self._stage_of = cache(stages.labels)  # finding a child takes longer than counting
        self._timings: deque[tuple[str, Timing]] = deque()
        repository.observe = self._observe

    def answered(self, protocol: str, route: str, status: str, seconds: float) -> None:
        """Note that a request was answered.

        Args:
            protocol: ``http`` or ``grpc``.
            route: The HTTP route or gRPC method; ``none`` if there is no such one.
            status: The HTTP number or gRPC name.
            seconds: The time it took.
        """
        self._request_of(protocol, route, status).inc()
        if route in _INFERENCE:
            self._latency_of(protocol, route).observe(seconds)

    def render(self) -> bytes:
        """All numbers in Prometheus' text format."""
        self._count()
        return generate_latest(self._registry)

    def _observe(self, model: str, timing: Timing) -> None:
        self._timings.append((model, timing))
        if len(self._timings) >= _TOGETHER:
            self._count()

    def _count(self) -> None:
        """Count the timings collected so far; done in bulk, while the code is in the CPU's caches."""
        with contextlib.suppress(IndexError):  # two threads may empty it
            while True:
                model, timing = self._timings.popleft()
                for stage in _STAGES:
                    self._stage_of(model, stage).observe(getattr(timing, f"{stage}_ns") / 1e9)


class _Models(Collector):
    """The models' own numbers, read on request."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def describe(self) -> list[Metric]:
        """Return nothing: the metric names do not depend on labels."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The current metrics."""
        requests = CounterMetricFamily(
            "deploykit_model_requests", "Requests to a model.", labels=["model", "version", "outcome"]
        )
        rows = CounterMetricFamily("deploykit_model_rows", "Rows answered.", labels=["model", "version"])
        batches = CounterMetricFamily(
            "deploykit_model_batches", "Runs of the engine by rows.", labels=["model", "version", "rows"]
        )
        waiting = GaugeMetricFamily("deploykit_model_queue", "Requests that wait.", labels=["model"])
        in_flight = GaugeMetricFamily(
            "deploykit_model_in_flight", "Requests not yet answered.", labels=["model"]
        )
        placement = GaugeMetricFamily(
            "deploykit_model_placement",
            "Nodes of the graph per execution provider.",
            labels=["model", "version", "engine", "engine_version", "device", "precision", "provider"],
        )
        tested = GaugeMetricFamily(
            "deploykit_model_selftest_cases",
            "Golden cases that the engine passed before it was ready; 0: none were run.",
            labels=["model", "version", "judged_by"],
        )
        ready = GaugeMetricFamily("deploykit_model_ready", "Whether a model answers.", labels=["model"])
        failures = CounterMetricFamily(
            "deploykit_model_load_failures",
            "Times that a file of a model could not be loaded.",
            labels=["model"],
        )
        stale = GaugeMetricFamily(
            "deploykit_model_stale",
            "Whether a model answers although its file has changed to one that cannot be loaded.",
            labels=["model"],
        )
        for model in self._repository.models:
            numbers = model.statistics.to_dict()
            own = [model.name, model.version]
            for outcome in ("success", "fail"):
                requests.add_metric([*own, outcome], numbers["inference_stats"][outcome]["count"])
            rows.add_metric(own, numbers["inference_count"])
            for batch in numbers["batch_stats"]:
                batches.add_metric([*own, str(batch["batch_size"])], batch["compute_infer"]["count"])
            waiting.add_metric([model.name], model.waiting)
            in_flight.add_metric([model.name], model.in_flight)
            where = model.placement()
            for provider, nodes in (where.providers or {"": 1}).items():
                labels = [*own, where.engine, where.version, where.device, where.precision, provider]
                placement.add_metric(labels, nodes)
            ran = 0 if model.tested is None else len(model.tested.cases)
            tested.add_metric([*own, "" if model.tested is None else model.tested.precision], ran)
        for state in self._repository.index():
            ready.add_metric([state.name], float(state.state == "READY"))
            failures.add_metric([state.name], state.failures)
            stale.add_metric([state.name], float(bool(state.failure)))
        yield from (requests, rows, batches, waiting, in_flight, placement, tested, ready, failures, stale)
