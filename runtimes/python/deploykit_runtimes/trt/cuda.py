"""The calls of the CUDA runtime that the adapter makes, through cuda-python, without torch.

cuda-python returns an error code with every answer and never raises; here every failure is an error.
Signatures: https://nvidia.github.io/cuda-python/cuda-bindings/latest/module/runtime.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.optional import require

__all__ = ["Cuda", "OutOfMemoryError", "open_cuda"]

_OUT_OF_MEMORY = 2


class OutOfMemoryError(RuntimeUnavailableError):
    """The GPU's or the pinned memory does not suffice."""


class Cuda:
    """The CUDA runtime on one GPU.

    Args:
        runtime: The module ``cuda.bindings.runtime``.
        gpu: Number of the GPU. CUDA selects it per thread: ``select`` is called on each one.
    """

    def __init__(self, runtime: Any, gpu: int) -> None:
        self._runtime = runtime
        self._gpu = gpu

    def select(self) -> None:
        """Make the GPU the one of the calling thread."""
        self._call("cudaSetDevice", self._gpu)

    def allocate(self, nbytes: int) -> int:
        """Address of new device memory."""
        return int(self._call("cudaMalloc", nbytes, what=f"allocate {nbytes:,} bytes on the GPU"))

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def allocate_pinned(self, nbytes: int) -> int:
        """Address of new page-locked host memory: copies from it overlap with the GPU's work."""
        what = f"pin {nbytes:,} bytes of memory"
        return int(self._call("cudaHostAlloc", nbytes, self._runtime.cudaHostAllocDefault, what=what))

    def free_pinned(self, address: int) -> None:
        self._call("cudaFreeHost", address)

    def new_stream(self) -> Any:
        """A stream that does not wait for the default one."""
        return self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)

    def free_stream(self, stream: Any) -> None:
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: Any) -> None:
        """Block until the stream has no work left."""
        self._call("cudaStreamSynchronize", stream, what="finish the work on the GPU")

    def to_device(self, device: int, host: int, nbytes: int, stream: Any) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", device, host, nbytes, kind, stream)

    def to_host(self, host: int, device: int, nbytes: int, stream: Any) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", host, device, nbytes, kind, stream)

    def record(self, enqueue: Callable[[], None], stream: Any) -> Any:
        """An executable graph of what the call enqueues, which does not run now."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            enqueue()
        finally:
            graph = self._call("cudaStreamEndCapture", stream, what="record the engine's work")
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, name: str, *args: Any, what: str = "") -> Any:
        error, *values = getattr(self._runtime, name)(*args)
        if int(error):
            text = self._runtime.cudaGetErrorString(error)[1]
            reason = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
            raised = OutOfMemoryError if int(error) == _OUT_OF_MEMORY else RuntimeUnavailableError
            raise raised(
                f"CUDA cannot {what or f'do {name}'}: {reason} (code {int(error)}).",
                hint="Close what else uses the GPU, or build for smaller shapes."
                if raised is OutOfMemoryError
                else "`deploykit doctor` looks at driver and GPU.",
            )
        return values[0] if values else None


def open_cuda(gpu: int) -> Cuda:
    """The CUDA runtime on a GPU.

    Raises:
        DependencyError: cuda-python is not installed.
        RuntimeUnavailableError: the driver does not fit it, or there is no such GPU.
    """
    cuda = Cuda(require("cuda.bindings.runtime", extra="tensorrt", purpose="give TensorRT memory"), gpu)
    cuda.select()
    return cuda
