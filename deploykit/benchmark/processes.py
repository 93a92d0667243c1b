"""Several engines compared, each in a process of its own, measured in turns."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any, Protocol, Self

from deploykit_runtimes import errors
from deploykit_runtimes.errors import DeploykitError, RuntimeUnavailableError
from deploykit_runtimes.runner import Placement

from deploykit.benchmark.report import BenchRow
from deploykit.benchmark.target import BenchTarget
from deploykit.benchmark.timing import interleave, summarise
from deploykit.process.children import end_child, start_child

__all__ = ["Worker", "bench_in_processes", "take_turns"]

_BLOCK_SECONDS = 0.25
_MAX_BLOCKS = 10_000


class Side(Protocol):
    """A side that ``take_turns`` measures."""

    def time(self, batch: int, *, seconds: float, most: int) -> list[float]: ...


def bench_in_processes(
    targets: Sequence[BenchTarget],
    *,
    batches: Sequence[int],
    imgsz: tuple[int, int] | None = None,
    warmup: int | None = None,
    runs: int | None = None,
    seconds: float = 3.0,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[BenchRow, ...]:
    """Measure targets at each batch size; the arguments are those of ``BenchOptions``.

    Raises:
        DeploykitError: what a worker raised.
    """
    with ExitStack() as stack:
        workers = {}
        for target in targets:
            report(f"Opening the model on {target.name}")
            workers[target.name] = stack.enter_context(Worker(target, batches=batches, imgsz=imgsz))
        cases = {
            f"{name}, batch {batch}": (worker, batch) for name, worker in workers.items() for batch in batches
        }
        report("Warming up")
        warmed = {case: worker.warm(batch, runs=warmup) for case, (worker, batch) in cases.items()}
        report("Measuring, each engine in a process of its own")
        samples = take_turns(cases, runs=runs, seconds=seconds)
        return tuple(
            BenchRow(
                name=case,
                batch=worker.shapes[batch][0],
                shape=worker.shapes[batch],
                placement=worker.placement,
                threads=worker.target.options.threads,
                load_seconds=worker.load_seconds,
                warmup=warmed[case],
                samples=tuple(samples[case]),
                summary=summarise(samples[case]),
            )
            for case, (worker, batch) in cases.items()
        )


def take_turns(
    cases: Mapping[str, tuple[Side, int]], *, runs: int | None = None, seconds: float = 3.0
) -> dict[str, list[float]]:
    """Time the cases in short blocks; each round starts with the next case.

    Args:
        cases: A side and a batch size, by name.
        runs: Samples of each case; None: as many as fit into ``seconds`` of measured time.
    """
    samples: dict[str, list[float]] = {case: [] for case in cases}
    for done, order in enumerate(interleave(list(cases))):
        open_cases = [case for case in order if not _enough(samples[case], runs, seconds)]
        if not open_cases or done >= _MAX_BLOCKS:
            break
        for case in open_cases:
            side, batch = cases[case]
            most = 1 << 20 if runs is None else runs - len(samples[case])
            samples[case] += side.time(batch, seconds=min(_BLOCK_SECONDS, seconds), most=most)
    return samples


def _enough(samples: Sequence[float], runs: int | None, seconds: float) -> bool:
    if runs is not None:
        return len(samples) >= runs
    spent = sum(samples)
    # A slow model still gets five samples, unless these take more than twice the time.
    return spent >= seconds and (len(samples) >= 5 or spent >= 2 * seconds)


class Worker:
    """A target in a process of its own; a context manager.

    Raises:
        DeploykitError: what stops it from opening, as the same class that it raised.
    """

    def __init__(
        self, target: BenchTarget, *, batches: Sequence[int], imgsz: tuple[int, int] | None = None
    ) -> None:
        self.target = target
        self._process = start_child(
            "deploykit.benchmark.worker", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            facts = self._ask({"open": _to_json(target), "batches": list(batches), "imgsz": imgsz})
        except BaseException:
            self.close(at_once=True)
            raise
        placement = facts["placement"]
        self.placement = Placement(**{**placement, "rewrites": tuple(placement["rewrites"])})
        self.load_seconds: float = facts["load_seconds"]
        self.shapes: dict[int, tuple[int, ...]] = {int(n): tuple(s) for n, s in facts["shapes"].items()}

    def warm(self, batch: int, *, runs: int | None = None) -> int:
        """Call until stable, or ``runs`` times; the number of calls."""
        calls: int = self._ask({"batch": batch, "warm": runs})["calls"]
        return calls

    def time(self, batch: int, *, seconds: float, most: int) -> list[float]:
        """Time a block of calls; seconds of each call."""
        samples: list[float] = self._ask({"batch": batch, "seconds": seconds, "most": most})["samples"]
        return samples

    def close(self, *, at_once: bool = False) -> None:
        """End the process, immediately or after its current work."""
        try:
            if self._process.stdin is not None and not at_once:
                with suppress(BrokenPipeError):  # a process that ended leaves what it was asked last
                    self._process.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=5)
        finally:
            end_child(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.close(at_once=kind is not None)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeUnavailableError(f"{self.target.name} has no channel to its process.")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise RuntimeUnavailableError(
                f"The process that ran {self.target.name} ended with {_ending(code)}.",
                hint=f"Its last output is above; to run it alone: --runtime {self.target.name}",
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = getattr(errors, answer["error"], DeploykitError)
            raise kind(answer["problem"], hint=answer["hint"])
        return answer


def _to_json(target: BenchTarget) -> dict[str, Any]:
    options = asdict(target.options)
    options["cache"] = options["cache"] and str(options["cache"])
    return {
        "name": target.name,
        "model": str(target.model),
        "reference": target.reference,
        "options": options,
    }


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
