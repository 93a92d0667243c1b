"""What a search found, for the terminal, JSON and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploykit.benchmark.environment import Environment
from deploykit.quantization.int8.candidates import Candidate
from deploykit.quantization.int8.measuring.accuracy import Measured
from deploykit.quantization.int8.search import FASTER, Found
from deploykit.terminal import columns, size, strong

__all__ = ["FORMAT", "Int8Report"]

FORMAT = 1
"""Of the JSON document."""

_METRICS = {"top1": "top-1", "map": "mAP50-95"}


@dataclass(frozen=True, kw_only=True, repr=False)
class Int8Report:
    """What was measured, and what was written.

    Attributes:
        model: The float32 file.
        output: The INT8 file; None: nothing was written.
        found: See ``Found``.
        metric, budget, target: As requested.
        reference: The metric of float32.
        images: The number of pictures it was measured on.
        data: The calibration data, in words.
        float32_bytes: Size of the float32 file.
        cpus: The classes of CPU for which the accuracy is shown.
        accuracies: The metric of the written file on each engine of this machine.
        unmeasured: Runtimes of the target that do not work here, with the reason.
        notes: Notes for the reader, in sentences.
        selftests: The result of the written file's self-test, by runtime, in a sentence.
        environment: Where it was measured.
        cpu_class: The class of this machine's CPU.
        seconds: The time spent.
        resumed: The number of measurements taken from an interrupted run.
    """

    model: Path
    output: Path | None
    found: Found
    metric: str
    budget: float
    target: str
    reference: float
    images: int
    data: str
    float32_bytes: int
    cpus: tuple[str, ...]
    accuracies: Mapping[str, Measured]
    unmeasured: Mapping[str, str]
    notes: tuple[str, ...]
    selftests: Mapping[str, str]
    environment: Environment
    cpu_class: str
    seconds: float
    resumed: int = 0

    def __repr__(self) -> str:
        return f"Int8Report({self.verdict})"

    @property
    def metric_name(self) -> str:
        """The metric as people write it."""
        return _METRICS.get(self.metric, self.metric)

    @property
    def best(self) -> Candidate | None:
        """The candidate that was written, or would have been."""
        return self.found.best

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The Pareto-optimal candidates in speed and accuracy, fastest first."""
        engine = self.found.engine
        scored = [each for each in self.found.candidates if each.accuracy and not each.accuracy.stopped]
        if not engine:
            return tuple(scored)
        front: list[Candidate] = []
        scored = [each for each in scored if engine in each.speeds]
        for each in sorted(scored, key=lambda each: (-each.ratio(engine), _loss(each))):
            if not front or _loss(each) < _loss(front[-1]):
                front.append(each)
        return tuple(front)

    @property
    def deploy_with(self) -> str:
        """The runtime on which the file is fastest and inside the budget; empty if none was measured."""
        best = self.found.best
        if best is None:
            return ""
        within = [
            name
            for name in best.speeds
            if name not in self.accuracies or self.accuracies[name].loss <= self.budget
        ]
        return min(within, key=lambda runtime: best.speeds[runtime].ms, default="")

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        best, engine = self.found.best, self.found.engine
        if best is None or best.accuracy is None:
            return (
                f"no mix of 8 bits and float keeps the loss of {self.metric_name} within {self.budget:.2%}; "
                f"the best loses {min(map(_loss, self._scored()), default=float('nan')):.2%}"
            )
        lost = (
            f"{self.metric_name} {best.accuracy.value:.4f} against {best.accuracy.reference:.4f} of float32"
        )
        if not engine:
            return f"{lost}; no engine of the target {self.target} works here, so its time is not measured"
        times = f"{best.ratio(engine):.2f} times as fast as float32 on {engine}"
        if best.gain(engine) < best.ratio(engine):
            other = min(best.speeds, key=lambda runtime: best.speeds[runtime].float32_ms)
            times += f", {best.gain(engine):.2f} times as fast as float32 on {other}"
        if not self.found.pays:
            return f"INT8 does not pay on this machine: {times}, {lost}"
        return f"{times}, {lost}"

    def _scored(self) -> Iterator[Candidate]:
        return (each for each in self.found.candidates if each.accuracy is not None)

    def lines(self) -> Iterator[str]:
        """Lines for the terminal."""
        yield strong(self.verdict)
        header = ("candidate", "error", *self.runtimes, self.metric_name, "size", "")
        rows = [self._row(each) for each in self.found.candidates if each.accuracy is not None]
        yield from columns(header, rows)
        best = self.found.best
        if best is not None:
            products = len(best.choice.nodes)
            yield f"{products} products in 8 bits, ranges by {best.choice.method}, {best.choice.form.name}"
            for each in self.found.kept:
                yield f"  in float: {each}"
        for name, score in self.accuracies.items():
            yield f"on {name}: {self.metric_name} {score.value:.4f}, float32 {score.reference:.4f}"
        if self.deploy_with and self.output is not None:
            yield f"deploy it with --runtime {self.deploy_with}"
        yield from self.notes

    @property
    def runtimes(self) -> list[str]:
        """The engines on which candidates were timed."""
        return list(dict.fromkeys(name for each in self.found.candidates for name in each.speeds))

    def _row(self, each: Candidate) -> tuple[str, ...]:
        times = [
            f"{each.speeds[name].ms:.2f} ms ({each.ratio(name):.2f}x)" if name in each.speeds else ""
            for name in self.runtimes
        ]
        found = each.accuracy
        score = "" if found is None else f"{found.value:.4f}" + (" (given up)" if found.stopped else "")
        mark = "written" if each is self.found.best and self.output else ""
        return (each.title, f"{each.error:.2e}", *times, score, size(each.nbytes), mark)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        best = self.found.best
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "model": str(self.model),
            "output": str(self.output) if self.output else None,
            "target": self.target,
            "metric": self.metric,
            "budget": self.budget,
            "reference": self.reference,
            "images": self.images,
            "data": self.data,
            "cpus": list(self.cpus),
            "cpu_class": self.cpu_class,
            "pays": self.found.pays,
            "engine": self.found.engine,
            "deploy_with": self.deploy_with,
            "best": None if best is None else _plain(best),
            "kept": list(self.found.kept),
            "candidates": [_plain(each) for each in self.found.candidates],
            "front": [each.title for each in self.front],
            "sensitivities": [
                {"group": str(each.group), "gain": each.gain, "cost_ms": each.cost_ms}
                for each in self.found.sensitivities
            ],
            "unmeasured": dict(self.unmeasured),
            "accuracies": {name: each.to_dict() for name, each in self.accuracies.items()},
            "selftests": dict(self.selftests),
            "notes": list(self.notes),
            "float32_bytes": self.float32_bytes,
            "seconds": round(self.seconds, 2),
            "resumed": self.resumed,
            "faster": FASTER,
            "environment": self.environment.to_dict(),
        }


def _loss(each: Candidate) -> float:
    return each.accuracy.loss if each.accuracy else float("inf")


def _plain(each: Candidate) -> dict[str, Any]:
    return {
        "title": each.title,
        "method": each.choice.method,
        "form": each.choice.form.name,
        "weight_bits": each.choice.weight_bits,
        "products": len(each.choice.nodes),
        "error": each.error,
        "bytes": each.nbytes,
        "speeds": {name: asdict(speed) for name, speed in each.speeds.items()},
        "accuracy": None if each.accuracy is None else each.accuracy.to_dict(),
    }
