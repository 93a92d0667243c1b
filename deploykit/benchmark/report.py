"""A measurement as data: rows, environment and warnings, for JSON and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploykit_runtimes.runner import Placement

from deploykit.benchmark.environment import Environment
from deploykit.benchmark.timing import NOISY, TimingSummary
from deploykit.terminal import columns, paragraph

__all__ = ["BenchReport", "BenchRow"]

FORMAT = 1
_MAX_SAMPLES_IN_JSON = 10_000
_FEW = 100


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One engine at one input shape.

    Attributes:
        name: What ran, for instance ``ort-cpu, batch 1``.
        batch: Images per call.
        shape: Shape of the input tensor.
        placement: Which device ran how many nodes, at which precision.
        threads: Threads that were asked for; None for every usable core.
        load_seconds: Time to open the model, which is not part of the samples.
        warmup: Calls before timing started.
        samples: Seconds of each timed call, in order.
        summary: Statistics of ``samples``.
    """

    name: str
    batch: int
    shape: tuple[int, ...]
    placement: Placement
    samples: tuple[float, ...]
    summary: TimingSummary
    threads: int | None = None
    load_seconds: float | None = None
    warmup: int = 0

    @property
    def throughput(self) -> float:
        """Images per second."""
        return self.summary.throughput(self.batch)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; times in milliseconds."""
        return {
            "name": self.name,
            "batch": self.batch,
            "shape": list(self.shape),
            "threads": self.threads,
            "placement": self.placement.to_dict(),
            "load_ms": None if self.load_seconds is None else round(self.load_seconds * 1e3, 3),
            "warmup_runs": self.warmup,
            "images_per_second": round(self.throughput, 3),
            **self.summary.to_dict(),
            "samples_ms": [round(value * 1e3, 5) for value in self.samples[:_MAX_SAMPLES_IN_JSON]],
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class BenchReport:
    """Everything that was measured, and where.

    Attributes:
        advice: Reasons not to run the file on these engines, in sentences.
    """

    title: str
    model: Mapping[str, object]
    rows: tuple[BenchRow, ...]
    environment: Environment
    advice: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """The table, as ``deploykit bench`` prints it."""
        return "\n".join([self.title, *self.table()])

    def warnings(self) -> tuple[str, ...]:
        """Reasons why the numbers may not be trustworthy, in sentences; empty if there are none."""
        noisy = [f"{row.name} {row.summary.variation:.0%}" for row in self.rows if row.summary.noisy]
        few = [f"{row.name} {row.summary.runs}" for row in self.rows if row.summary.runs < _FEW]
        found = []
        if noisy:
            found.append(
                f"Noisy, standard deviation above {NOISY:.0%} of the mean: {'; '.join(noisy)}. "
                "Measure again on a quiet machine before comparing."
            )
        if few:
            found.append(f"Fewer than {_FEW} timed calls, so p99 is close to the maximum: {'; '.join(few)}.")
        return (*self.advice, *found, *self.environment.warnings())

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "title": self.title,
            "model": dict(self.model),
            "rows": [row.to_dict() for row in self.rows],
            "environment": self.environment.to_dict(),
            "warnings": list(self.warnings()),
        }

    def table(self) -> list[str]:
        """Lines for the terminal: latencies in milliseconds, then what ran where."""
        header = ("", "median ms", "p95", "p99", "mean", "min", "images/s", "variation", "runs")
        lines = columns(header, [_cells(row) for row in self.rows])
        lines.append("")
        placements = dict.fromkeys(f"{row.name.partition(',')[0]}: {row.placement}" for row in self.rows)
        lines += [line for placement in placements for line in paragraph(placement, indent=2)]
        return lines


def _cells(row: BenchRow) -> tuple[str, ...]:
    times = (row.summary.median, row.summary.p95, row.summary.p99, row.summary.mean, row.summary.min)
    return (
        row.name,
        *(milliseconds(value) for value in times),
        f"{row.throughput:.1f}",
        f"{row.summary.variation:.1%}",
        str(row.summary.runs),
    )


def milliseconds(value: float) -> str:
    """Seconds as milliseconds with three significant digits or two decimals."""
    scaled = value * 1e3
    return f"{scaled:.3f}" if scaled < 1 else f"{scaled:.2f}"
