"""Memory of an engine's inputs and outputs, on both sides: grown when needed, kept, freed on close."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from deploykit_runtimes.trt.cuda import Cuda

__all__ = ["Buffer", "OutputBuffer", "make_allocator"]

_UNIT = 512  # TensorRT wants addresses that are multiples of 256


class Buffer:
    """Device memory of a tensor, and page-locked memory of the same size to copy through.

    It grows to the largest shape that was needed, which the engine's profile bounds.

    Attributes:
        device, host: Addresses; 0 before ``reserve``.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._size = 0
        self.device = 0
        self.host = 0

    def reserve(self, nbytes: int) -> bool:
        """Make room for ``nbytes``. Returns whether the addresses changed."""
        # TensorRT refuses the null address also for empty tensors.
        size = max(1, -(-nbytes // _UNIT)) * _UNIT
        if size <= self._size:
            return False
        self.release()
        self.device = self._cuda.allocate(size)
        self.host = self._cuda.allocate_pinned(size)
        self._size = size
        return True

    def array(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """The page-locked memory as an array; valid until the buffer grows."""
        count = int(np.prod(shape, dtype=np.int64))
        memory = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(self.host)
        return np.frombuffer(memoryview(memory), dtype=dtype, count=count).reshape(shape)

    def release(self) -> None:
        """Free both sides; also when one of them could not be allocated."""
        device, host = self.device, self.host
        self.device = self.host = self._size = 0
        if device:
            self._cuda.free(device)
        if host:
            self._cuda.free_pinned(host)


class OutputBuffer(Buffer):
    """Memory of an output whose shape depends on the data; TensorRT asks for it while it runs.

    Attributes:
        shape: Of the last run.
        failure: Why memory could not be given; None where it could.
    """

    def __init__(self, cuda: Cuda) -> None:
        super().__init__(cuda)
        self.shape: tuple[int, ...] = ()
        self.failure: Exception | None = None


def make_allocator(trt: Any, buffer: OutputBuffer) -> Any:
    """An IOutputAllocator of the given module.

    Called from C++ that takes no exceptions: address 0 says that there is no memory.
    """

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]  # the base is known at run time
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)

        def reallocate_output_async(
            self,
            tensor_name: str,  # noqa: ARG002 - TensorRT's signature
            memory: int,  # noqa: ARG002
            size: int,
            alignment: int,  # noqa: ARG002
            stream: int,  # noqa: ARG002
        ) -> int:
            try:
                buffer.reserve(size)
            except Exception as error:  # noqa: BLE001 - told by the caller of the engine
                buffer.failure = error
                return 0
            return buffer.device

        def notify_shape(self, tensor_name: str, shape: Any) -> None:  # noqa: ARG002
            buffer.shape = tuple(int(n) for n in shape)

    return Allocator()
