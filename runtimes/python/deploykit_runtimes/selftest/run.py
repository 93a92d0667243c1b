"""``self_test``: every golden case of a model file on a runner, judged by the precision that it runs in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import DeploykitError, ModelError, ParityError
from deploykit_runtimes.runner import Placement, Runner
from deploykit_runtimes.selftest.cases import PRECISIONS, Case, cases_from_keys
from deploykit_runtimes.selftest.compare import Difference, differences
from deploykit_runtimes.selftest.inputs import feeds_of

__all__ = ["ADVICE", "CaseResult", "SelfTest", "golden_cases", "require_self_test", "self_test"]

Progress = Callable[[int, int], None]

ADVICE = (
    "Try --precision model or another --runtime. `deploykit verify CKPT MODEL --bisect` finds the layer that "
    "is wrong."
)
"""What to do about an engine that fails."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """One golden case on an engine.

    Attributes:
        title: ``photo 3x224x224``.
        outputs: How far each output is from the checkpoint's; empty where the case did not run.
        skipped: Why it did not run: the engine was built for other shapes.
        error: What the engine said where it failed.
    """

    title: str
    outputs: tuple[Difference, ...] = ()
    skipped: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.error and all(each.ok for each in self.outputs)


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """The golden cases of a model on an engine.

    Attributes:
        placement: What really ran.
        precision: By whose tolerances it was judged.
        cases: One result for each case.
        seconds: What it took.
    """

    placement: Placement
    precision: str
    cases: tuple[CaseResult, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether a case ran, and every one that did is within its tolerances."""
        return any(case.outputs for case in self.cases) and all(case.ok for case in self.cases)

    @property
    def worst(self) -> tuple[CaseResult, Difference] | None:
        """The output that uses most of its tolerance, those that fail first."""
        every = [(case, each) for case in self.cases for each in case.outputs]
        return max(every, key=lambda pair: (not pair[1].ok, pair[1].share), default=None)

    def __str__(self) -> str:
        ran = sum(bool(case.outputs) for case in self.cases)
        if not self.ok:
            return f"self-test failed: {self.problem}"
        worst = self.worst
        share = f", at most {100 * worst[1].share:.0f} % of the tolerance used" if worst else ""
        return f"self-test passed: {ran} golden cases at {self.precision}{share}, {self.seconds:.2f} s"

    @property
    def problem(self) -> str:
        """Which case failed, and by how much; empty where none did."""
        for case in self.cases:
            if case.error:
                return f"{case.title}: {case.error}"
        worst = self.worst
        if worst is None:
            return "no golden case fits the shapes that this engine was built for"
        case, found = worst
        if found.ok:
            return ""
        if found.agreed < found.answers and found.share <= 1:
            return f"{case.title}: of {found.output} only {found.agreed} of {found.answers} answers agree"
        off = f"off by {found.found:.2e} ({found.part}), allowed is {found.allowed:.2e}"
        return f"{case.title}: {found.output} is {off}"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "ok": self.ok,
            "problem": self.problem if not self.ok else "",
            "precision": self.precision,
            "seconds": round(self.seconds, 4),
            "placement": self.placement.to_dict(),
            "cases": [
                {
                    "case": case.title,
                    "ok": case.ok,
                    "skipped": case.skipped,
                    "error": case.error,
                    "outputs": [_plain(each) for each in case.outputs],
                }
                for case in self.cases
            ],
        }


def _plain(found: Difference) -> dict[str, object]:
    values = asdict(found)
    return {key: str(value) if value == float("inf") else value for key, value in values.items()}


def golden_cases(spec: ModelSpec) -> tuple[Case, ...]:
    """The golden cases of a model file.

    Raises:
        ModelError: it has none, or they are damaged.
    """
    cases = cases_from_keys(spec.golden)
    if not cases:
        raise ModelError(
            "The model file carries no golden cases.",
            hint="Export the model again: deploykit export CKPT",
        )
    return cases


def self_test(runner: Runner, *, progress: Progress = lambda _done, _total: None) -> SelfTest:
    """Run the golden cases of a model on a runner.

    Args:
        runner: The loaded model; its engine and precision are what is tested.
        progress: Called with the number of cases that are done, and of all.

    Raises:
        ModelError: the file carries no golden cases, or none with tolerances for the precision that the
            engine runs in.
    """
    start = time.perf_counter()
    spec, placement = runner.spec, runner.placement()
    cases = golden_cases(spec)
    precision = _judged(placement.precision, cases)
    results = []
    for done, case in enumerate(cases):
        progress(done, len(cases))
        results.append(_run(runner, case, spec, precision))
    progress(len(cases), len(cases))
    return SelfTest(
        placement=placement,
        precision=precision,
        cases=tuple(results),
        seconds=time.perf_counter() - start,
    )


def require_self_test(runner: Runner) -> SelfTest:
    """Run the golden cases of a model on a runner, and refuse an engine that fails one.

    Raises:
        ParityError: a case failed; the message says which, by how much, and what to try.
        ModelError: see ``self_test``.
    """
    found = self_test(runner)
    if not found.ok:
        raise ParityError(
            f"The self-test failed on {found.placement.title}, {found.placement.precision}: {found.problem}.",
            hint=ADVICE,
        )
    return found


def _judged(precision: str, cases: tuple[Case, ...]) -> str:
    """The lowest of the precisions that an engine uses.

    A file whose weights are rounded has no tolerances for the most exact ones: an engine that computes in
    those is judged by the next that the file has.
    """
    every = [set(kept.tolerances) for case in cases for kept in case.kept]
    known = set.intersection(*every) if every else set()
    order = [*PRECISIONS, *sorted(known.difference(PRECISIONS))]
    judged = []
    for name in precision.split("+"):
        lower = order[order.index(name) :] if name in order else []
        judged += [each for each in lower if each in known][:1]
    if len(judged) < len(precision.split("+")):
        raise ModelError(
            f"The engine computes in {precision}, the golden cases have tolerances for "
            f"{', '.join(sorted(known)) or 'none'}.",
            hint="Run the file in its own precision: --precision model.",
        )
    return max(judged, key=order.index)


def _run(runner: Runner, case: Case, spec: ModelSpec, precision: str) -> CaseResult:
    outside = _outside(case, spec)
    if outside:
        return CaseResult(title=case.title, skipped=outside)
    try:
        outputs = runner.infer(feeds_of(case, spec))
    except DeploykitError as error:
        return CaseResult(title=case.title, error=error.problem)
    return CaseResult(
        title=case.title,
        outputs=tuple(differences(outputs, kept, spec, precision) for kept in case.kept),
    )


def _outside(case: Case, spec: ModelSpec) -> str:
    """Why an engine does not take a case, that was built for less than the file allows."""
    wanted = {"batch": case.batch}
    if case.stage == "tensor" or spec.preprocess.included:
        wanted |= {"height": case.height, "width": case.width}
    for axis, size in wanted.items():
        allowed = spec.input.dynamic.get(axis)
        if allowed is None:
            fixed = getattr(spec.input, axis)
            if size != fixed:
                return f"the engine's {axis} is fixed to {fixed}"
        elif size not in allowed:
            return f"the engine takes a {axis} of {allowed}"
    return ""
