"""A runner without an engine, for tests of whatever sits on top of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.runner import BaseRunner, Placement, check_feeds

__all__ = ["FakeRunner"]

OutputsFunction = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class FakeRunner(BaseRunner):
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
        image = spec.input
        self._inputs = (TensorInfo(name=image.name, dtype=image.dtype, shape=image.shape),)
        self._outputs = tuple(
            TensorInfo(name=name, dtype="float32", shape=("batch",)) for name in spec.output.names
        )
        self.feeds: list[np.ndarray] = []
        self.closed = False

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.closed:
            raise InputError("The runner was closed.", hint="Open the model again with open_runner().")
        check_feeds(self._spec, self._inputs, feeds)
        images = feeds[self._spec.input.name]
        self.feeds.append(images.copy())
        return dict(self._outputs_fn(images))

    def placement(self) -> Placement:
        return Placement(engine="fake", version="1", device="cpu")

    def close(self) -> None:
        self.closed = True
