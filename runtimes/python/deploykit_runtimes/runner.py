"""The Runner protocol that every engine adapter keeps, and the way to open one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from deploykit_runtimes.errors import InputError
from deploykit_runtimes.spec import ModelSpec

__all__ = ["Placement", "Runner", "TensorInfo", "check_feeds"]


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """A graph input or output: numpy dtype name, and a shape whose dynamic axes are names."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What really ran: engine and version, the device, nodes per execution provider, precision."""

    engine: str
    version: str
    device: str
    providers: Mapping[str, int] = field(default_factory=dict)
    precision: str = "fp32"

    def to_dict(self) -> dict[str, object]:
        return {
            "engine": self.engine,
            "version": self.version,
            "device": self.device,
            "providers": dict(self.providers),
            "precision": self.precision,
        }

    def __str__(self) -> str:
        nodes = ", ".join(f"{name}: {count} nodes" for name, count in self.providers.items())
        return f"{self.engine} {self.version} on {self.device} ({nodes or 'whole graph'}), {self.precision}"


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

    def placement(self) -> Placement: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def check_feeds(spec: ModelSpec, inputs: tuple[TensorInfo, ...], feeds: Mapping[str, np.ndarray]) -> None:
    """Refuse feeds that the model does not declare, before the engine sees them.

    Raises:
        InputError: names the input, what it takes and what was given.
    """
    wanted = {info.name for info in inputs}
    if feeds.keys() != wanted:
        raise InputError(
            f"The model takes the inputs {sorted(wanted)}, found {sorted(feeds)}.",
            hint="Feed exactly the inputs that `deploykit inspect` lists.",
        )
    for info in inputs:
        array = feeds[info.name]
        if not isinstance(array, np.ndarray):
            raise InputError(f"Input {info} wants a numpy array, found {type(array).__name__}.")
        if array.dtype.name != info.dtype:
            raise InputError(
                f"Input {info} wants {info.dtype}, found {array.dtype.name}.",
                hint=f"Convert it with .astype(np.{info.dtype}).",
            )
        _check_shape(spec, info, array.shape)


def _check_shape(spec: ModelSpec, info: TensorInfo, shape: tuple[int, ...]) -> None:
    found = "x".join(map(str, shape)) or "a scalar"
    if len(shape) != len(info.shape):
        raise InputError(f"Input {info} wants {len(info.shape)} axes, found {found}.")
    for axis, (wanted, n) in enumerate(zip(info.shape, shape, strict=True)):
        if isinstance(wanted, int):
            if n != wanted:
                raise InputError(
                    f"Input {info} is fixed to {wanted} on axis {axis}, found {found}.",
                    hint="Export with --dynamic to accept other sizes.",
                )
        elif info.name == spec.input.name and wanted in spec.input.dynamic:
            allowed = spec.input.dynamic[wanted]
            if n not in allowed:
                raise InputError(f"Input {info} accepts {wanted} {allowed}, found {found}.")
        elif n < 1:
            raise InputError(f"Input {info} has an empty axis {axis}: {found}.")
