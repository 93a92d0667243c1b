"""A runner without an engine, for tests of whatever sits on top of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np

from deploykit_runtimes.errors import InputError
from deploykit_runtimes.runner import Placement, TensorInfo, check_feeds
from deploykit_runtimes.spec import ModelSpec

__all__ = ["FakeRunner"]

OutputsFunction = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class FakeRunner:
    """Keeps the ``Runner`` protocol; its answers come from a function.

    Args:
        spec: The contract to act out. Feeds are checked against it as an engine's adapter does.
        outputs_fn: The input tensor to the outputs by name.

    Attributes:
        feeds: A copy of every input tensor received, in order.
        closed: Whether ``close`` was called.
    """

    def __init__(self, spec: ModelSpec, outputs_fn: OutputsFunction) -> None:
        self._spec = spec
        self._outputs_fn = outputs_fn
        self.feeds: list[np.ndarray] = []
        self.closed = False

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        image = self._spec.input
        sizes = {"batch": image.batch, "height": image.height, "width": image.width}
        shape: dict[str, int | str] = {
            axis: axis if axis in image.dynamic else size for axis, size in sizes.items()
        }
        shape["channels"] = image.channels
        order = ("batch", "channels", "height", "width")
        if image.layout == "NHWC":
            order = ("batch", "height", "width", "channels")
        return (TensorInfo(name=image.name, dtype=image.dtype, shape=tuple(shape[axis] for axis in order)),)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return tuple(
            TensorInfo(name=name, dtype="float32", shape=("batch",)) for name in self._spec.output.names
        )

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.closed:
            raise InputError("The runner was closed.", hint="Open the model again with open_runner().")
        check_feeds(self._spec, self.inputs, feeds)
        images = feeds[self._spec.input.name]
        self.feeds.append(images.copy())
        return dict(self._outputs_fn(images))

    def placement(self) -> Placement:
        return Placement(engine="fake", version="1", device="cpu")

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
