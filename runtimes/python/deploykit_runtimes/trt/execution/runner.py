"""The Runner: a pool of execution contexts, because one of them serves one thread at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.machine.nvidia import Gpu
from deploykit_runtimes.onnx.file import OnnxFile
from deploykit_runtimes.runner import BaseRunner, Placement, check_feeds
from deploykit_runtimes.trt.cuda import Cuda, OutOfMemoryError
from deploykit_runtimes.trt.engine import Engine
from deploykit_runtimes.trt.execution.context import Context
from deploykit_runtimes.trt.execution.placement import read_placement, refuse_lower_precision
from deploykit_runtimes.trt.jit import JitCache

__all__ = ["ContextPool", "TrtRunner"]

# A GPU works on one call at a time unless they are small; a second context lets copies overlap with it.
_CONTEXTS = {"latency": 2, "throughput": 4}


class ContextPool:
    """Execution contexts, made when they are first needed and lent to one thread at a time.

    If the GPU's memory does not suffice for another one, callers wait for one of the existing ones.

    Args:
        make: Makes a context.
        most: How many at once.
    """

    def __init__(self, make: Any, most: int) -> None:
        self._make = make
        self._room = most
        self._idle: list[Context] = [make()]
        self._made = 1
        self._change = threading.Condition()
        self._closed = False

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Context]:
        context = self._take()
        try:
            yield context
        finally:
            with self._change:
                if self._closed:
                    context.close()
                else:
                    self._idle.append(context)
                self._change.notify()

    def close(self) -> None:
        """Free idle contexts now, and lent ones when they come back."""
        with self._change:
            self._closed = True
            for context in self._idle:
                context.close()
            self._idle.clear()
            self._change.notify_all()

    def _take(self) -> Context:
        with self._change:
            while not self._closed:
                if self._idle:
                    return self._idle.pop()  # the one used last: its memory is warm
                if self._made < self._room:
                    try:
                        context: Context = self._make()
                    except OutOfMemoryError:
                        self._room = self._made
                        continue
                    self._made += 1
                    return context
                self._change.wait()
        raise InputError("The runner was closed.", hint="Open the model again with open_runner().")


class TrtRunner(BaseRunner):
    """A model in a TensorRT engine. Keeps the ``Runner`` protocol.

    Args:
        engine: The engine.
        cuda: Its GPU.
        gpu: What the GPU is.
        file: Metadata, inputs and outputs of the model.
        options: See ``EngineOptions``; threads of the CPU have no meaning here.
        tf32: The engine was built with TF32 allowed.
        config, jit: How contexts run, by ``jit.runtime_config``.

    Raises:
        RuntimeUnavailableError: memory does not suffice, or ``options.strict`` is violated.
    """

    def __init__(
        self,
        engine: Engine,
        cuda: Cuda,
        *,
        gpu: Gpu,
        file: OnnxFile,
        options: EngineOptions,
        tf32: bool = False,
        config: Any = None,
        jit: JitCache | None = None,
    ) -> None:
        self._spec = file.spec(options.outputs)
        self._inputs, self._outputs = file.inputs, file.outputs
        self._jit = jit
        capture = options.cuda_graph and not engine.bindings.is_rtx  # RTX captures by its own configuration

        def make() -> Context:
            cuda.select()
            return Context(engine, cuda, config=config, cuda_graph=capture)

        self._pool = ContextPool(make, _CONTEXTS[options.goal])
        with self._pool.borrow() as context:
            self._placement = read_placement(
                engine, context, device=gpu.name, weights=file.weights, tf32=tf32
            )
        if options.strict:
            try:
                refuse_lower_precision(self._placement, file.weights)
            except BaseException:
                self._pool.close()
                raise

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the engine once; see ``Runner.infer``.

        Raises:
            InputError: also for shapes that the model takes, but no profile of the engine.
            RuntimeUnavailableError: TensorRT or the GPU failed.
        """
        check_feeds(self._spec, self._inputs, feeds)
        with self._pool.borrow() as context:
            return context.run(feeds)

    def placement(self) -> Placement:
        """Layers after TensorRT's fusions, and their precision."""
        return self._placement

    def close(self) -> None:
        if self._jit is not None:
            self._jit.save()
            self._jit = None
        self._pool.close()
