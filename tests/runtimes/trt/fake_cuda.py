"""``cuda.bindings.runtime`` without a GPU: host memory stands for the device's, streams defer their work.

Work runs when its stream is waited for, not before: whoever reads too early, or frees too early, gets
wrong answers here as on a GPU. Addresses outside of what was allocated end the test.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

try:
    from cuda.bindings import runtime as real
except ImportError:  # pragma: no cover - the development environment has it
    real = None

ALIGNMENT = 256


class Memory:
    """Allocations by address."""

    def __init__(self) -> None:
        self.blocks: dict[int, tuple[Any, int]] = {}

    def allocate(self, nbytes: int) -> int:
        block = (ctypes.c_uint8 * (nbytes + ALIGNMENT))()
        address = -(-ctypes.addressof(block) // ALIGNMENT) * ALIGNMENT
        ctypes.memset(address, 0xA5, nbytes)  # what was not written does not read as zeros
        self.blocks[address] = (block, nbytes)
        return address

    @property
    def used(self) -> int:
        return sum(nbytes for _, nbytes in self.blocks.values())

    def holds(self, address: int, nbytes: int) -> bool:
        return any(
            start <= address and address + nbytes <= start + size for start, (_, size) in self.blocks.items()
        )


class Stream:
    """A queue of work."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.work: list[Callable[[], None]] = []
        self.capturing: list[Callable[[], None]] | None = None

    def __int__(self) -> int:
        return self.handle

    def enqueue(self, work: Callable[[], None]) -> None:
        (self.work if self.capturing is None else self.capturing).append(work)


class FakeCuda:
    """The functions of the CUDA runtime that the adapter calls, with their signatures and return values.

    Attributes:
        device, pinned: Memory of both kinds.
        capacity: Bytes that the device has.
        calls: Number of calls per function.
        fail: Errors to return, by function.
    """

    cudaStreamNonBlocking = real.cudaStreamNonBlocking if real else 1
    cudaHostAllocDefault = real.cudaHostAllocDefault if real else 0

    def __init__(self, *, capacity: int = 1 << 30) -> None:
        self.device, self.pinned = Memory(), Memory()
        self.capacity = capacity
        self.streams: dict[int, Stream] = {}
        self.graphs: set[int] = set()
        self.launched = 0
        self.calls: dict[str, int] = {}
        self.fail: dict[str, int] = {}
        self.selected = threading.local()
        self.cudaMemcpyKind = real.cudaMemcpyKind
        self.cudaStreamCaptureMode = real.cudaStreamCaptureMode
        self._handles = iter(range(0x1000, 1 << 30, 16))
        self._kept: dict[int, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()

    def _answer(self, name: str, *values: Any) -> tuple[Any, ...]:
        with self._lock:
            self.calls[name] = self.calls.get(name, 0) + 1
        code = real.cudaError_t(self.fail.get(name, 0))
        return (code, *(values if not int(code) else (None,) * len(values)))

    def stream(self, handle: int) -> Stream:
        assert int(handle) in self.streams, "a stream that does not exist"
        return self.streams[int(handle)]

    def cudaGetErrorString(self, error: Any) -> tuple[Any, ...]:
        return real.cudaGetErrorString(error)

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        self.selected.device = device
        return self._answer("cudaSetDevice")

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        assert getattr(self.selected, "device", None) is not None, "no GPU was selected on this thread"
        if self.device.used + size > self.capacity:
            return real.cudaError_t(2), None
        if "cudaMalloc" in self.fail:
            return self._answer("cudaMalloc", None)
        return self._answer("cudaMalloc", self.device.allocate(size))

    def cudaFree(self, devPtr: int) -> tuple[Any, ...]:
        del self.device.blocks[int(devPtr)]
        return self._answer("cudaFree")

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        if "cudaHostAlloc" in self.fail:
            return self._answer("cudaHostAlloc", None)
        return self._answer("cudaHostAlloc", self.pinned.allocate(size))

    def cudaFreeHost(self, ptr: int) -> tuple[Any, ...]:
        del self.pinned.blocks[int(ptr)]
        return self._answer("cudaFreeHost")

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == self.cudaStreamNonBlocking, "the default stream waits for every other one"
        stream = Stream(next(self._handles))
        self.streams[stream.handle] = stream
        return self._answer("cudaStreamCreateWithFlags", stream)

    def cudaStreamDestroy(self, stream: Any) -> tuple[Any, ...]:
        del self.streams[int(stream)]
        return self._answer("cudaStreamDestroy")

    def cudaStreamSynchronize(self, stream: Any) -> tuple[Any, ...]:
        found = self.stream(stream)
        assert found.capturing is None, "a stream that records cannot be waited for"
        work, found.work = found.work, []
        for item in work:
            item()
        return self._answer("cudaStreamSynchronize")

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: Any) -> tuple[Any, ...]:
        sides = (self.device, self.pinned) if int(kind) == 1 else (self.pinned, self.device)
        assert sides[0].holds(int(dst), count), "a copy to memory that was not allocated"
        assert sides[1].holds(int(src), count), "a copy from memory that was not allocated"
        self.stream(stream).enqueue(lambda: self._copy(sides, int(dst), int(src), count))
        return self._answer("cudaMemcpyAsync")

    def _copy(self, sides: tuple[Memory, Memory], dst: int, src: int, count: int) -> None:
        assert sides[0].holds(dst, count), "memory was freed before a copy to it"
        assert sides[1].holds(src, count), "memory was freed before a copy from it"
        ctypes.memmove(dst, src, count)

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> tuple[Any, ...]:
        found = self.stream(stream)
        assert found.capturing is None
        found.capturing = []
        return self._answer("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any, ...]:
        found = self.stream(stream)
        assert found.capturing is not None
        handle = next(self._handles)
        self._kept[handle], found.capturing = found.capturing, None
        return self._answer("cudaStreamEndCapture", handle)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, ...]:
        handle = next(self._handles)
        self._kept[handle] = self._kept[graph]
        self.graphs.add(handle)
        return self._answer("cudaGraphInstantiate", handle)

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any, ...]:
        del self._kept[graph]
        return self._answer("cudaGraphDestroy")

    def cudaGraphLaunch(self, graphExec: Any, stream: Any) -> tuple[Any, ...]:
        assert graphExec in self.graphs, "a graph that was freed"
        for work in self._kept[graphExec]:
            self.stream(stream).enqueue(work)
        self.launched += 1
        return self._answer("cudaGraphLaunch")

    def cudaGraphExecDestroy(self, graphExec: Any) -> tuple[Any, ...]:
        self.graphs.remove(graphExec)
        del self._kept[graphExec]
        return self._answer("cudaGraphExecDestroy")
