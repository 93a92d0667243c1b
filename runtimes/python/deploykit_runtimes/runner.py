"""The Runner protocol that every engine adapter keeps, and the way to open one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

import numpy as np

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import InputError

__all__ = [
    "BaseRunner",
    "BestClasses",
    "CheckedFeeds",
    "FiniteFeeds",
    "Placement",
    "Runner",
    "check_feeds",
    "is_finite",
]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What really ran.

    Attributes:
        engine, version, device: Where.
        providers: Nodes (layers after fusion, where the engine counts these) per execution provider.
        precision: What convolutions and matrix products compute in; several are joined by ``+``.
        precisions: Layers of any kind per precision, where the engine tells.
        rewrites: What was done to the file's graph at load, by name, in order; empty: it runs node for node.
        settings: What the engine was asked for, in its own names, without which this file has other answers
            on this machine than elsewhere.
        saturates: Products of bytes saturate here, and the engine has no way around it: answers are others
            than elsewhere.
        joins_signed: Int8 activations around 0 are joined by a Concat here, which the engine computes
            wrongly; the file could not be put into a form that it computes correctly.
    """

    engine: str
    version: str
    device: str
    providers: Mapping[str, int] = field(default_factory=dict)
    precision: str = "fp32"
    precisions: Mapping[str, int] = field(default_factory=dict)
    rewrites: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    saturates: bool = False
    joins_signed: bool = False

    def to_dict(self) -> dict[str, object]:
        return {
            "engine": self.engine,
            "version": self.version,
            "device": self.device,
            "providers": dict(self.providers),
            "precision": self.precision,
            "precisions": dict(self.precisions),
            "rewrites": list(self.rewrites),
            "settings": dict(self.settings),
            "saturates": self.saturates,
            "joins_signed": self.joins_signed,
        }

    @property
    def title(self) -> str:
        """``onnxruntime 1.32.0 cpu``."""
        return f"{self.engine} {self.version} {self.device}"

    def __str__(self) -> str:
        nodes = ", ".join(f"{name}: {count} nodes" for name, count in self.providers.items())
        rewritten = f", rewritten at load: {', '.join(self.rewrites)}" if self.rewrites else ""
        where = f"{self.engine} {self.version} on {self.device} ({nodes or 'whole graph'})"
        asked = "".join(f", {name}={value}" for name, value in self.settings.items())
        return f"{where}, {self.precision}{rewritten}{asked}"


class BestClasses(NamedTuple):
    """The best classes of each row, best first, the lower class first where scores are equal.

    Attributes:
        classes: Their numbers.
        scores: Their probabilities.
    """

    classes: list[list[int]]
    scores: list[list[float]]


class Runner(Protocol):
    """One loaded model on one engine. Safe to call from many threads."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def inputs(self) -> tuple[TensorInfo, ...]: ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]: ...

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph; inputs are not modified and the outputs belong to the caller.

        Raises:
            InputError: a feed is missing, unknown, or outside the declared dtype or range.
        """
        ...

    def infer_best(
        self, feeds: Mapping[str, np.ndarray], top_k: int
    ) -> tuple[dict[str, np.ndarray], BestClasses | None]:
        """Run the graph once, of a classifier, and have the engine rank the classes too.

        Args:
            feeds: As for ``infer``.
            top_k: How many classes are wanted.

        Returns:
            The outputs, those of ``infer``; and the best classes. None: the engine does not rank that
            number of them, or the logits are not finite, and ranking is left to the caller.

        Raises:
            InputError: as of ``infer``.
        """
        ...

    def placement(self) -> Placement: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class BaseRunner(ABC):
    """What every adapter does alike: its contract, and the context manager that closes it.

    An adapter adds ``infer`` and ``placement``, and ``infer_best`` if its engine ranks classes.
    """

    _spec: ModelSpec
    _inputs: tuple[TensorInfo, ...]
    _outputs: tuple[TensorInfo, ...]

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self._spec

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What the graph takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What the graph returns."""
        return self._outputs

    @abstractmethod
    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph; see ``Runner.infer``."""

    @abstractmethod
    def placement(self) -> Placement:
        """What really runs where."""

    def infer_best(
        self,
        feeds: Mapping[str, np.ndarray],
        top_k: int,  # noqa: ARG002 - for adapters whose engine ranks
    ) -> tuple[dict[str, np.ndarray], BestClasses | None]:
        """The outputs alone: here the engine ranks no classes."""
        return self.infer(feeds), None

    def close(self) -> None:  # noqa: B027 - few adapters need it
        """Free the engine; here there is nothing to free."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class FiniteFeeds(dict[str, np.ndarray]):
    """Feeds made of pixels, which cannot hold NaN or infinity: ``check_feeds`` does not search them."""


class CheckedFeeds(FiniteFeeds):
    """Feeds that ``check_feeds`` has let through already, each of them or the rows of a batch: not again."""


def check_feeds(spec: ModelSpec, inputs: tuple[TensorInfo, ...], feeds: Mapping[str, np.ndarray]) -> None:
    """Refuse feeds that the model does not declare, before the engine sees them.

    Raises:
        InputError: names the input, what it takes and what was given.
    """
    if isinstance(feeds, CheckedFeeds):
        return
    searched = not isinstance(feeds, FiniteFeeds)
    for info in inputs:
        array = feeds.get(info.name)
        if array is None or len(feeds) != len(inputs):
            raise InputError(
                f"The model takes the inputs {sorted(info.name for info in inputs)}, found {sorted(feeds)}.",
                hint="Feed exactly the inputs that `deploykit inspect` lists.",
            )
        if not isinstance(array, np.ndarray):
            raise InputError(f"Input {info} wants a numpy array, found {type(array).__name__}.")
        if array.dtype != info.numpy_dtype:
            raise InputError(
                f"Input {info} wants {info.dtype}, found {array.dtype}.",
                hint=f"Convert it with .astype(np.{info.dtype}).",
            )
        _check_shape(spec, info, array.shape)
        if searched and array.dtype.kind == "f" and not is_finite(array):
            raise _not_finite(info, array)


def is_finite(array: np.ndarray) -> bool:
    """Whether an array that is not empty holds neither NaN nor infinity, without a temporary array."""
    return math.isfinite(np.minimum.reduce(array, None)) and math.isfinite(np.maximum.reduce(array, None))


def _check_shape(spec: ModelSpec, info: TensorInfo, shape: tuple[int, ...]) -> None:
    if len(shape) != len(info.shape):
        raise InputError(f"Input {info} wants {len(info.shape)} axes, found {_text(shape)}.")
    for axis, (wanted, n) in enumerate(zip(info.shape, shape, strict=True)):
        if isinstance(wanted, int):
            if n != wanted:
                raise InputError(
                    f"Input {info} is fixed to {wanted} on axis {axis}, found {_text(shape)}.",
                    hint="Export with --dynamic to accept other sizes.",
                )
        elif info.name == spec.input.name and wanted in spec.input.dynamic:
            allowed = spec.input.dynamic[wanted]
            if n not in allowed:
                raise InputError(f"Input {info} accepts {wanted} {allowed}, found {_text(shape)}.")
        elif n < 1:
            raise InputError(f"Input {info} has an empty axis {axis}: {_text(shape)}.")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _not_finite(info: TensorInfo, array: np.ndarray) -> InputError:
    wrong = ~np.isfinite(array)
    place = np.unravel_index(int(wrong.argmax()), array.shape)
    index = ", ".join(map(str, map(int, place)))
    return InputError(
        f"Input {info} holds NaN or infinity in {np.count_nonzero(wrong)} of {array.size} values, "
        f"the first at [{index}]: {array[place]}.",
        hint="Look for a division by zero, uninitialised memory or a float16 overflow before this.",
    )
