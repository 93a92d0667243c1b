"""From a float32 file and pictures to an INT8 file and a report."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from deploykit_runtimes.errors import DeploykitError, InputError, OptionError, ParityError
from deploykit_runtimes.machine.cpu import cpu_class
from deploykit_runtimes.machine.engine_cache import default_cache
from deploykit_runtimes.machine.trusted_folder import trusted_folder
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.targets import check_target

from deploykit import __version__
from deploykit.benchmark.environment import read_environment
from deploykit.progress import counter_of
from deploykit.quantization.int8.candidates import Laboratory
from deploykit.quantization.int8.graph.network import Network, read_network
from deploykit.quantization.int8.measuring.accuracy import Accuracy
from deploykit.quantization.int8.measuring.activations import Activations, collect
from deploykit.quantization.int8.measuring.pictures import FEWEST, Pictures, feeds_of, read_pictures
from deploykit.quantization.int8.measuring.speed import Timer, Turns
from deploykit.quantization.int8.measuring.state import State
from deploykit.quantization.int8.measuring.tensor_error import TensorError
from deploykit.quantization.int8.options import RUNTIMES, Int8Options
from deploykit.quantization.int8.report import Int8Report
from deploykit.quantization.int8.search import Found, search
from deploykit.quantization.int8.writing import Written, write_best

__all__ = ["quantize_int8"]

_ERROR_PICTURES = 8
"""Pictures on which tensors are compared."""
Feeds = Mapping[str, np.ndarray]


def quantize_int8(
    model: str | Path,
    data: str | Path,
    output: str | Path | None = None,
    options: Int8Options | None = None,
    *,
    report: Callable[[str], None] | None = None,
    timers: Mapping[str, Timer] | None = None,
) -> Int8Report:
    """Write the fastest INT8 form of a model that stays inside an accuracy budget.

    Args:
        model: A float32 model file.
        data: Pictures: a folder, or labelled ones as ``eval`` takes them.
        output: The file to write; None: next to the model, ``NAME-int8.onnx``.
        options: See ``Int8Options``.
        report: Called with a sentence as each stage starts.
        timers: Timers by runtime, instead of measuring the engines of this machine.

    Returns:
        What was measured; ``output`` is None if nothing faster than float32 was found.

    Raises:
        OptionError: the model is not float32, an option cannot be used, or labels contradict the model.
        InputError: the pictures cannot be read, or are too few.
        ParityError: no mix keeps the metric inside the budget, or the written file fails its self-test.
        DeploykitError: a model cannot be opened or run.
    """
    options = options or Int8Options()
    say = report or (lambda _: None)
    path = Path(model)
    target = Path(output) if output else path.with_name(f"{path.stem}-int8.onnx")
    check_target(target, reads=[path])
    start = time.monotonic()
    say("Reading the model")
    network = read_network(path)
    pictures = read_pictures(
        Path(data),
        network.spec,
        metric=options.metric,
        split=options.split,
        matching=options.matching,
        calibrate=options.calibrate,
        limit=options.limit,
        seed=options.seed,
    )
    with tempfile.TemporaryDirectory(prefix="deploykit-int8-") as folder:
        work = _Work(
            network=network,
            pictures=pictures,
            options=options,
            folder=Path(folder),
            say=say,
            count=counter_of(report),
        )
        lab, unmeasured = work.laboratory(timers)
        for_trt = options.target == "trt"
        found = search(lab, bits=8 if for_trt else 7, portable=for_trt)
        written: Written | None = None
        if found.best is not None and (found.pays or options.slower):
            say("Writing and testing the file")
            written = write_best(lab, found, target, pictures, options)
        lab.state.discard()
        if found.best is None:
            raise _over_budget(found, options)
    reference = lab.accuracy
    return Int8Report(
        model=path,
        output=written.path if written else None,
        found=found,
        metric=pictures.metric,
        budget=options.budget,
        target=options.target,
        reference=found.best.accuracy.reference if found.best and found.best.accuracy else float("nan"),
        images=len(reference.pairs),
        data=pictures.title,
        float32_bytes=path.stat().st_size,
        cpus=written.cpus if written else (),
        accuracies=written.accuracies if written else {},
        unmeasured=unmeasured,
        notes=(
            *pictures.notes,
            *work.notes,
            *(f"not read: {each}" for each in reference.unread),
            *(f"{name} does not take some of the candidates: {why}" for name, why in lab.refused.items()),
            *(written.notes if written else ()),
        ),
        selftests=written.selftests if written else {},
        environment=read_environment(),
        cpu_class=cpu_class(),
        seconds=time.monotonic() - start,
        resumed=lab.state.resumed,
    )


def _over_budget(found: Found, options: Int8Options) -> ParityError:
    losses = [each.accuracy.loss for each in found.candidates if each.accuracy is not None]
    more = f"{max(min(losses), 0) * 1.2:.3g}"
    return ParityError(
        f"No mix of 8 bits and float keeps the loss within {options.budget:.2%}: the best of {len(losses)} "
        f"that were measured loses {min(losses):.2%}.",
        hint=f"Allow more with --budget {more}, or write FP16: deploykit quantize MODEL --fp16",
    )


@dataclass
class _Work:
    """One run: the state shared by its stages."""

    network: Network
    pictures: Pictures
    options: Int8Options
    folder: Path
    say: Callable[[str], None]
    count: Callable[[int, int], None]
    notes: tuple[str, ...] = ()

    def laboratory(self, timers: Mapping[str, Timer] | None) -> tuple[Laboratory, dict[str, str]]:
        """The laboratory that measures candidates; and the runtimes that do not work here, with the
        reason.
        """
        options, path = self.options, self.network.path
        unmeasured: dict[str, str] = {}
        with open_runner(path, runtime="ort-cpu", options=options.engine) as runner:
            predictor = Predictor(runner)
            feeds = self._readable(predictor)
            if timers is None:
                timers, unmeasured = self._timers(feeds[0])
            activations = self._activations(predictor)
        state = State(self._key(tuple(timers)), resume=not options.fresh)
        runtime = next(iter(timers), "ort-cpu")
        self.say(f"Measuring float32 on {len(self.pictures.measured)} pictures")
        accuracy = Accuracy.of(path, self.pictures, runtime, options.engine, count=self.count)
        lab = Laboratory(
            network=self.network,
            activations=activations,
            folder=self.folder,
            errors=TensorError(self.network, feeds[:_ERROR_PICTURES]),
            accuracy=accuracy,
            timers=timers,
            state=state,
            budget=options.budget,
            say=self.say,
            count=self.count,
        )
        return lab, unmeasured

    def _readable(self, predictor: Predictor) -> list[Feeds]:
        """The readable ones of the calibration pictures, as tensors."""
        found: list[Feeds] = []
        wrong: list[tuple[Path, InputError]] = []
        for path, each in zip(
            self.pictures.calibration, feeds_of(predictor, self.pictures.calibration), strict=True
        ):
            if isinstance(each, InputError):
                wrong.append((path, each))
            elif len(found) < _ERROR_PICTURES:
                found.append({name: np.array(value) for name, value in each.items()})
        read = len(self.pictures.calibration) - len(wrong)
        if read < FEWEST // 2 and not wrong:
            raise OptionError(
                f"Calibration wants at least {FEWEST // 2} pictures, found {read}.", hint="Raise --calibrate."
            )
        if read < FEWEST // 2:
            named = "; ".join(f"{path}: {error.problem}" for path, error in wrong[:3])
            raise InputError(
                f"Only {read} of {len(self.pictures.calibration)} calibration pictures can be read: {named}",
                hint="Give the folder of the pictures that the model is used on.",
            )
        self.notes = tuple(f"not used for calibration: {path}: {error.problem}" for path, error in wrong)
        return found

    def _timers(self, feeds: Feeds) -> tuple[dict[str, Timer], dict[str, str]]:
        found: dict[str, Timer] = {}
        missing: dict[str, str] = {}
        for runtime in RUNTIMES[self.options.target]:
            try:
                with open_runner(self.network.path, runtime=runtime, options=self.options.engine):
                    found[runtime] = Turns(
                        self.network.path, runtime, self.options.engine, feeds, seconds=self.options.seconds
                    )
            except DeploykitError as error:
                missing[runtime] = error.problem
        return found, missing

    def _activations(self, predictor: Predictor) -> Activations:
        """From the cache, or measured now."""
        place = trusted_folder(default_cache() / "calibration", contents=False)
        text = f"{self.network.sha256} {self.pictures.sha256} {__version__}"
        file = place / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        if file.is_file() and not self.options.fresh:
            try:
                found = Activations.read(file)
            except ValueError:
                file.unlink(missing_ok=True)
            else:
                self.say("Taking the calibration from the cache")
                return found
        self.say(f"Calibrating on {len(self.pictures.calibration)} pictures")
        total, seen = 2 * len(self.pictures.calibration), iter(range(1, 1 << 30))

        def feeds():  # type: ignore[no-untyped-def]
            return (
                each
                for each in feeds_of(predictor, self.pictures.calibration)
                if not isinstance(each, InputError)
            )

        found = collect(self.network, feeds, done=lambda: self.count(next(seen), total))
        found.write(file)
        return found

    def _key(self, runtimes: tuple[str, ...]) -> dict[str, object]:
        """All that the measurements depend on."""
        options = self.options
        return {
            "model": self.network.sha256,
            "calibration": self.pictures.sha256,
            "data": replace(self.pictures.dataset, samples=self.pictures.measured).digest(),
            "metric": self.pictures.metric,
            "budget": options.budget,
            "target": options.target,
            "runtimes": runtimes,
            "engine": {name: str(value) for name, value in options.engine.keywords().items()},
            "seconds": options.seconds,
            "cpu": read_environment().cpu.model,
            "release": __version__,
        }
