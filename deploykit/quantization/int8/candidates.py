"""Candidates and their measurements: each is made when it is needed, and measured once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import DeploykitError

from deploykit.quantization.int8.graph.insert import Choice, quantised
from deploykit.quantization.int8.graph.network import Network
from deploykit.quantization.int8.measuring.accuracy import Accuracy, Measured
from deploykit.quantization.int8.measuring.activations import Activations
from deploykit.quantization.int8.measuring.speed import Speed, Timer
from deploykit.quantization.int8.measuring.state import State
from deploykit.quantization.int8.measuring.tensor_error import TensorError

if TYPE_CHECKING:
    import onnx

__all__ = ["Candidate", "Laboratory"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A mix of layers in 8 bits and in float, with its measurements.

    Attributes:
        choice: The mix.
        title: A description in words.
        error: See ``TensorError.of``.
        speeds: By runtime; empty if no engine was measured.
        accuracy: Its metric; None: not measured.
        nbytes: Size of its file.
    """

    choice: Choice
    title: str
    error: float
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    accuracy: Measured | None = None
    nbytes: int = 0

    def ratio(self, runtime: str) -> float:
        """Speed relative to float32."""
        return self.speeds[runtime].ratio

    def gain(self, runtime: str) -> float:
        """Speed relative to float32 on the engine that is fastest in float32."""
        fastest = min(speed.float32_ms for speed in self.speeds.values())
        return self.ratio(runtime) * fastest / self.speeds[runtime].float32_ms

    def fits(self, budget: float) -> bool:
        """Whether it was measured to the end and lost no more than the budget."""
        found = self.accuracy
        return found is not None and not found.stopped and found.loss <= budget


@dataclass
class Laboratory:
    """Makes and measures candidates.

    Attributes:
        network: The float32 network.
        activations: The statistics of its tensors.
        folder: For files of candidates, removed at the end.
        errors: Compares tensors.
        accuracy: Measures the metric.
        timers: By runtime.
        state: Keeps measurements.
        budget: The largest loss allowed.
        say: Called with a sentence before each measurement.
        count: Called as pictures of a candidate are done.
        refused: Why an engine refused a candidate, by runtime.
    """

    network: Network
    activations: Activations
    folder: Path
    errors: TensorError
    accuracy: Accuracy
    timers: Mapping[str, Timer]
    state: State
    budget: float
    say: Callable[[str], None] = lambda _: None
    count: Callable[[int, int], None] = lambda _done, _total: None
    refused: dict[str, str] = field(default_factory=dict)
    _last: dict[str, onnx.ModelProto] = field(default_factory=dict)

    def ranges(self, method: str) -> dict[str, float]:
        """See ``Activations.ranges``; cached per method, because entropy takes long."""
        found: dict[str, float] = self.state.once(f"ranges {method}", lambda: self.activations.ranges(method))
        return found

    def model(self, choice: Choice) -> onnx.ModelProto:
        """The graph of a candidate; only the last one is cached."""
        if choice.key not in self._last:
            self._last = {choice.key: quantised(self.network, choice, self.ranges(choice.method))}
        return self._last[choice.key]

    def write(self, choice: Choice) -> Path:
        """The file of a candidate."""
        path = self.folder / f"{choice.key}.onnx"
        if not path.is_file():
            import onnx

            onnx.save(self.model(choice), path)
        return path

    def error(self, choice: Choice) -> float:
        """How far its tensors are from float32."""
        return float(self.state.once(f"error {choice.key}", lambda: self.errors.of(self.model(choice))))

    def speeds(self, choice: Choice) -> dict[str, Speed]:
        """Its time on each engine that accepts it.

        Raises:
            DeploykitError: no engine accepts it.
        """
        found: dict[str, Speed] = {}
        refused: DeploykitError | None = None
        for runtime, timer in self.timers.items():
            try:
                timed = self.state.once(f"speed {runtime} {choice.key}", partial(self._timed, timer, choice))
            except DeploykitError as error:
                self.refused[runtime] = error.problem
                refused = error
            else:
                found[runtime] = Speed(**timed)
        if refused is not None and not found:
            raise refused
        return found

    def _timed(self, timer: Timer, choice: Choice) -> dict[str, float]:
        return asdict(timer(self.write(choice)))

    def measured(self, choice: Choice) -> Measured:
        """Its metric."""
        found = self.state.once(
            f"accuracy {choice.key}",
            lambda: asdict(self.accuracy.measure(self.write(choice), budget=self.budget, count=self.count)),
        )
        return Measured(**found)

    def candidate(self, choice: Choice, title: str, *, scored: bool = False) -> Candidate:
        """Measure a candidate."""
        self.say(title)
        return Candidate(
            choice=choice,
            title=title,
            error=self.error(choice),
            speeds=self.speeds(choice),
            accuracy=self.measured(choice) if scored else None,
            nbytes=int(self.state.once(f"bytes {choice.key}", lambda: self.write(choice).stat().st_size)),
        )

    def forget(self, choice: Choice) -> None:
        """Remove its file."""
        (self.folder / f"{choice.key}.onnx").unlink(missing_ok=True)
