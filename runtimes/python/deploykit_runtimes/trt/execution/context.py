"""One execution context with its own stream and buffers: used by one thread at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.trt.cuda import Cuda, OutOfMemoryError
from deploykit_runtimes.trt.engine import Engine, EngineTensor
from deploykit_runtimes.trt.execution.buffers import Buffer, OutputBuffer, make_allocator
from deploykit_runtimes.trt.execution.graphs import GraphCache
from deploykit_runtimes.trt.profiles import Shape, as_text, choose

__all__ = ["Context"]


class Context:
    """Runs an engine for one caller at a time.

    Args:
        engine: The engine.
        cuda: Its GPU, already selected on the calling thread.
        config: An IRuntimeConfig of the engine, or None for the default.
        cuda_graph: Record and replay the work of each shape.

    Raises:
        OutOfMemoryError: the GPU has no memory left for a further context.
    """

    def __init__(self, engine: Engine, cuda: Cuda, *, config: Any = None, cuda_graph: bool = False) -> None:
        self._engine = engine
        self._cuda = cuda
        messages = engine.bindings.messages
        messages.clear()
        make = engine.handle.create_execution_context
        self.handle: Any = make() if config is None else make(config)
        if self.handle is None:
            raise OutOfMemoryError(
                f"{engine.bindings.flavour} cannot create an execution context: {messages.last_error()}",
                hint="Close what else uses the GPU, or build for smaller shapes.",
            )
        self._stream = cuda.new_stream()
        self._profile = 0
        self._shapes: dict[str, Shape] = {}
        self._inputs = {tensor.name: Buffer(cuda) for tensor in engine.inputs}
        self._outputs: dict[str, Buffer] = {tensor.name: Buffer(cuda) for tensor in engine.outputs}
        # TensorRT holds no reference to the allocators that it calls.
        self._allocators: dict[str, Any] = {}
        self._graphs = GraphCache(cuda, self._stream) if cuda_graph else None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Copy in, run, copy out; waits for the end.

        Raises:
            InputError: no profile of the engine takes the shapes.
            RuntimeUnavailableError: TensorRT or the GPU failed; says why.
        """
        self._cuda.select()
        self._set_shapes({tensor.name: feeds[tensor.name].shape for tensor in self._engine.inputs})
        for tensor in self._engine.inputs:
            self._copy_in(tensor, feeds[tensor.name])
        shapes = self._prepare_outputs()
        if self._graphs is None or self._allocators:
            self._enqueue()
        else:
            self._graphs.run((self._profile, tuple(self._shapes.items())), self._enqueue)
        return self._copy_out(shapes)

    def set_best_shapes(self) -> None:
        """Set the shapes of the first profile's best case, for whoever asks what would run."""
        self._cuda.select()
        best = {name: shapes.opt for name, shapes in self._engine.profiles[0].items()}
        self._set_shapes(best)

    def close(self) -> None:
        """Free everything; the context must be idle."""
        self._cuda.select()
        if self._graphs is not None:
            self._graphs.clear()
        for buffer in (*self._inputs.values(), *self._outputs.values()):
            buffer.release()
        self.handle = None
        self._allocators.clear()
        self._cuda.free_stream(self._stream)

    def _set_shapes(self, shapes: dict[str, Shape]) -> None:
        if shapes == self._shapes:
            return
        profile = choose(self._engine.profiles, shapes)
        self._shapes = {}  # not known, should a call below fail
        if profile != self._profile:
            self._must(
                self.handle.set_optimization_profile_async(profile, int(self._stream)), "change the profile"
            )
            self._cuda.wait(self._stream)
            self._profile = profile
        for name, shape in shapes.items():
            self._must(self.handle.set_input_shape(name, shape), f"take {name} as {as_text(shape)}")
        self._shapes = shapes

    def _copy_in(self, tensor: EngineTensor, feed: np.ndarray) -> None:
        buffer = self._inputs[tensor.name]
        if buffer.reserve(feed.nbytes):
            self._forget_addresses()
        np.copyto(buffer.array(tensor.dtype, feed.shape), feed)
        if tensor.on_host:
            self._must(self.handle.set_tensor_address(tensor.name, buffer.host), f"read {tensor.name}")
            return
        self._must(self.handle.set_tensor_address(tensor.name, buffer.device), f"read {tensor.name}")
        self._cuda.to_device(buffer.device, buffer.host, feed.nbytes, self._stream)

    def _prepare_outputs(self) -> dict[str, Shape]:
        """Give every output its memory. Returns the shapes that are known before the run."""
        missing = self.handle.infer_shapes()
        self._must(not missing, f"infer its shapes without {', '.join(missing)}")
        known = {}
        for tensor in self._engine.outputs:
            shape = tuple(self.handle.get_tensor_shape(tensor.name))
            if any(n < 0 for n in shape):
                self._give_allocator(tensor.name)
                continue
            known[tensor.name] = shape
            buffer = self._outputs[tensor.name]
            if buffer.reserve(int(np.prod(shape, dtype=np.int64)) * tensor.dtype.itemsize):
                self._forget_addresses()
            address = buffer.host if tensor.on_host else buffer.device
            self._must(self.handle.set_tensor_address(tensor.name, address), f"write {tensor.name}")
        return known

    def _give_allocator(self, name: str) -> None:
        """The length of this output depends on the data: TensorRT asks for memory while it runs."""
        if name in self._allocators:
            return
        buffer = OutputBuffer(self._cuda)
        self._outputs[name] = buffer
        self._allocators[name] = make_allocator(self._engine.bindings.trt, buffer)
        self._must(self.handle.set_output_allocator(name, self._allocators[name]), f"allocate {name}")

    def _enqueue(self) -> None:
        self._engine.bindings.messages.clear()
        done = self.handle.execute_async_v3(int(self._stream))
        for buffer in self._outputs.values():
            if isinstance(buffer, OutputBuffer) and buffer.failure is not None:
                failure, buffer.failure = buffer.failure, None
                raise failure
        self._must(done, "run")

    def _copy_out(self, known: Mapping[str, Shape]) -> dict[str, np.ndarray]:
        if self._allocators:
            self._cuda.wait(self._stream)  # shapes become known while it runs
        pending = {}
        for tensor in self._engine.outputs:
            buffer = self._outputs[tensor.name]
            shape = buffer.shape if isinstance(buffer, OutputBuffer) else known[tensor.name]
            nbytes = int(np.prod(shape, dtype=np.int64)) * tensor.dtype.itemsize
            if nbytes and not tensor.on_host:
                self._cuda.to_host(buffer.host, buffer.device, nbytes, self._stream)
            pending[tensor.name] = (
                buffer.array(tensor.dtype, shape) if nbytes else np.empty(shape, tensor.dtype)
            )
        self._cuda.wait(self._stream)
        return {name: array.copy() for name, array in pending.items()}

    def _forget_addresses(self) -> None:
        if self._graphs is not None:
            self._graphs.clear()

    def _must(self, done: bool, what: str) -> None:
        if not done:
            bindings = self._engine.bindings
            raise RuntimeUnavailableError(
                f"{bindings.flavour} {bindings.version} cannot {what}: {bindings.messages.last_error()}",
                hint="--runtime ort-cuda runs the model without TensorRT.",
            )
