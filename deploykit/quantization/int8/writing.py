"""The best candidate as a file: its record, its golden cases, and its tests on this machine's engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_exporters.graph.metadata import renew_metadata
from deploykit_runtimes.contract.spec import ModelSpec, PrecisionRecord
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.files import atomic_path
from deploykit_runtimes.open import open_runner

from deploykit.quantization.int8.candidates import Candidate, Laboratory
from deploykit.quantization.int8.golden import renewed
from deploykit.quantization.int8.graph.saturation import may_saturate
from deploykit.quantization.int8.measuring.accuracy import Accuracy, Measured
from deploykit.quantization.int8.measuring.pictures import Pictures
from deploykit.quantization.int8.options import Int8Options
from deploykit.quantization.int8.search import FASTER, Found

if TYPE_CHECKING:
    import onnx

__all__ = ["Written", "write_best"]

_CLASSES = ("vnni", "no-vnni")
_TARGETS = {"ort-cpu": "ort-cpu", "ov-cpu": "ov", "trt": "trt"}


@dataclass
class Written:
    """A file that was written.

    Attributes:
        path: The file.
        cpus: The classes of CPU for which its accuracy is shown.
        accuracies: The metric on each engine of this machine.
        selftests: The result of its self-test on each, in a sentence.
        notes: Notes for the reader, in sentences.
    """

    path: Path
    cpus: tuple[str, ...]
    accuracies: dict[str, Measured]
    selftests: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_best(
    lab: Laboratory, found: Found, target: Path, pictures: Pictures, options: Int8Options
) -> Written:
    """Write the best candidate, tested on this machine's engines.

    Raises:
        ParityError: it loses more than the budget on every engine, or fails its self-test.
    """
    best = found.best
    assert best is not None
    writing = _Writing(lab=lab, best=best, kept=found.kept, pictures=pictures, options=options)
    return writing.write(target)


@dataclass(kw_only=True)
class _Writing:
    lab: Laboratory
    best: Candidate
    kept: tuple[str, ...]
    pictures: Pictures
    options: Int8Options

    def write(self, target: Path) -> Written:
        import onnx

        model, own = self.lab.model(self.best.choice), self.lab.network.spec
        # The proof is by the weights: no sum of two products leaves 16 bits, on whatever CPU.
        cpus = () if self.options.target == "trt" or may_saturate(model) else _CLASSES
        draft = self.lab.folder / "best.onnx"
        _save(model, own, draft)
        accuracies = self._accuracies(draft)
        within = [name for name, each in accuracies.items() if each.loss <= self.options.budget]
        if not within:
            raise ParityError(
                "The best mix keeps the budget in the search, but its file does so on none of "
                f"{', '.join(accuracies)}.",
                hint="Name one engine with --target, or allow more with --budget.",
            )
        worst = max((accuracies[name] for name in within), key=lambda each: each.loss)
        spec = replace(own, precision=self._record(worst, within, cpus), golden=self._golden(draft))
        _save(model, spec, draft)
        onnx.checker.check_model(str(draft))
        written = Written(path=target, cpus=cpus, accuracies=accuracies)
        if spec.golden:
            written.selftests = _self_tests(draft, within)
        elif own.golden:
            written.notes = ("no golden case has the same answer in 8 bits: the file carries none",)
        written.notes += tuple(
            f"{name} loses {each.loss:.2%}, more than the budget: do not deploy the file there"
            for name, each in accuracies.items()
            if name not in within
        )
        with atomic_path(target) as place:
            place.write_bytes(draft.read_bytes())
        return written

    @property
    def _runtimes(self) -> list[str]:
        return list(self.best.speeds) or ["ort-cpu"]

    def _accuracies(self, draft: Path) -> dict[str, Measured]:
        """The metric on each engine, against float32 on the same engine."""
        lab, found = self.lab, {}
        for runtime in self._runtimes:
            accuracy = lab.accuracy
            if runtime != next(iter(lab.timers), "ort-cpu"):
                lab.say(f"Measuring the accuracy on {runtime}")
                accuracy = Accuracy.of(
                    lab.network.path, self.pictures, runtime, self.options.engine, count=lab.count
                )
            found[runtime] = accuracy.measure(draft, budget=1.0, count=lab.count)
        return found

    def _record(self, worst: Measured, within: Sequence[str], cpus: tuple[str, ...]) -> PrecisionRecord:
        choice = self.best.choice
        return PrecisionRecord(
            compute="int8",
            target=self._target(within),
            cpus=cpus,
            data=self.pictures.title,
            data_sha256=self.pictures.sha256,
            images=worst.images,
            metric=self.pictures.metric,
            budget=self.options.budget,
            reference=worst.reference,
            accuracy=worst.value,
            method=f"{len(choice.nodes)} of {len(self.lab.network.macs)} products in 8 bits "
            f"({choice.form.name}), ranges by {choice.method}, {choice.weight_bits}-bit weights by channel",
            kept=self.kept,
        )

    def _target(self, within: Sequence[str]) -> str:
        """``any`` if every engine accepts the form, and the file is inside the budget and faster than
        float32 on all that were measured; otherwise the fastest engine on which it is.
        """
        speeds = self.best.speeds
        if self.options.target != "any" or not speeds:
            return self.options.target
        good = [name for name in within if name in speeds and speeds[name].ratio >= FASTER]
        if len(good) == len(self.lab.timers) and self.best.choice.form.portable:
            return "any"
        return _TARGETS[min(good or list(speeds), key=lambda name: speeds[name].ms)]

    def _golden(self, draft: Path) -> dict[str, str]:
        own, engine = self.lab.network.spec, self.options.engine
        if not own.golden:
            return {}
        runners = [open_runner(draft, runtime="ort-cpu", options=replace(engine, exact=True))]
        try:
            runners += [open_runner(draft, runtime=name, options=engine) for name in self._runtimes]
            return renewed(own, runners)
        finally:
            for runner in runners:
                runner.close()


def _save(model: onnx.ModelProto, spec: ModelSpec, path: Path) -> None:
    """Write a graph with the metadata of a contract; a file by another exporter keeps its own metadata."""
    import onnx

    if not spec.inferred:
        renew_metadata(model, spec)
    onnx.save(model, path)


def _self_tests(file: Path, runtimes: Sequence[str]) -> dict[str, str]:
    from deploykit_runtimes.selftest.run import self_test

    found = {}
    for runtime in runtimes:
        with open_runner(file, runtime=runtime) as runner:
            result = self_test(runner)
        if not result.ok:
            raise ParityError(
                f"The INT8 file fails its self-test on {runtime}: {result.problem}.",
                hint="Make it for another engine with --target.",
            )
        found[runtime] = str(result)
    return found
