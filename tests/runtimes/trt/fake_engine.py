"""What runs a pretended plan: runtime, refitter, engine, inspector and execution context."""

from __future__ import annotations

import ctypes
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fake_recorded import MAGIC, OnnxFile, Recorded, numpy_type

if TYPE_CHECKING:
    from fake_tensorrt import FakeTensorRT


class Runtime(Recorded):
    _trt: FakeTensorRT

    def __init__(self, logger: Any) -> None:
        self._trt.start(logger)
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        trt, data = self._trt, bytes(serialized_engine)
        assert getattr(trt.cuda.selected, "device", None) is not None, "no GPU was selected on this thread"
        if not data.startswith(MAGIC):
            trt.error("[runtime.cpp::parse::42] Error Code 1: Serialization (magicTag mismatch)")
            return None
        size = int.from_bytes(data[4:8], "little")
        head = json.loads(data[8 : 8 + size])
        if head["version"] != trt.__version__ and not (
            int(trt.BuilderFlag.VERSION_COMPATIBLE) in head["flags"] and self.engine_host_code_allowed
        ):
            trt.error(
                f"The engine plan file is not compatible with this version of TensorRT {trt.__version__}"
            )
            return None
        if "IRuntimeCache" not in trt.api["classes"] and head["gpu"] != trt.gpu and not head["compatible"]:
            trt.error("The engine plan file is generated on an incompatible device")
            return None
        return trt.make(ICudaEngine, head, data[8 + size :])

    def get_engine_validity(self, buffer: Any) -> tuple[int, int]:
        return (2, 0) if bytes(buffer).startswith(MAGIC) else (2, 32)


class Refitter(Recorded):
    def __init__(self, engine: Any, logger: Any) -> None:
        self._engine = engine

    def refit_cuda_engine(self) -> bool:
        return self._engine._model is not None


class OnnxParserRefitter(Recorded):
    _trt: FakeTensorRT

    def __init__(self, refitter: Any, logger: Any) -> None:
        self._refitter = refitter

    def refit_from_file(self, model: str) -> bool:
        if "fake.refit_error" in (found := OnnxFile(Path(model).read_bytes())).metadata:
            self._trt.error("a weight is missing")
            return False
        self._refitter._engine._model = found
        return True


class ICudaEngine(Recorded):
    _trt: FakeTensorRT

    def __init__(self, head: dict[str, Any], body: bytes) -> None:
        self._head = head
        self._model = OnnxFile(body) if body else None

    def _nodes(self) -> list[Any]:
        assert self._model is not None, "an engine without weights was used"
        return [*self._model.session.get_inputs(), *self._model.session.get_outputs()]

    def _node(self, name: str) -> Any:
        return next(node for node in self._nodes() if node.name == name)

    @property
    def num_io_tensors(self) -> int:
        return len(self._nodes())

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._head["profiles"])

    def get_tensor_name(self, index: int) -> str:
        return str(self._nodes()[index].name)

    def get_tensor_mode(self, name: str) -> Any:
        is_input = name in {node.name for node in self._model.session.get_inputs()}
        return self._trt.TensorIOMode.INPUT if is_input else self._trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        names = {"float32": "FLOAT", "float16": "HALF", "uint8": "UINT8", "int64": "INT64", "int32": "INT32"}
        return self._trt.DataType[names[numpy_type(self._node(name).type).name]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(n if isinstance(n, int) else -1 for n in self._node(name).shape)

    def get_tensor_location(self, name: str) -> Any:
        return self._trt.TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        shapes = self._head["profiles"][profile_index].get(name) or [list(self.get_tensor_shape(name))] * 3
        return [tuple(shape) for shape in shapes]

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        trt = self._trt
        if trt.free_contexts is not None:
            if not trt.free_contexts:
                trt.error("[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)")
                return None
            trt.free_contexts -= 1
        trt.contexts += 1
        return trt.make(IExecutionContext, self)

    def create_runtime_config(self) -> Any:
        return self._trt.make(IRuntimeConfig)

    def create_engine_inspector(self) -> Any:
        return self._trt.make(EngineInspector)


class FakeRuntimeCache:
    def __init__(self) -> None:
        self.data = b""

    def deserialize(self, blob: bytes) -> bool:
        self.data = blob if blob.startswith(b"kernels") else b""
        return bool(self.data)

    def serialize(self) -> bytes:
        return self.data or b"kernels"


class IRuntimeConfig(Recorded):
    def create_runtime_cache(self) -> Any:
        return FakeRuntimeCache()

    def set_runtime_cache(self, cache: Any) -> bool:
        self._cache = cache
        return True


class EngineInspector(Recorded):
    _trt: FakeTensorRT

    def __init__(self) -> None:
        self.execution_context = None

    def get_engine_information(self, format: Any) -> str:
        context = self.execution_context
        assert context is not None and context._shapes.keys() == context._inputs(), "shapes come first"
        return json.dumps({"Layers": self._trt.layers})


class IExecutionContext(Recorded):
    _trt: FakeTensorRT

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self._busy = threading.Lock()

    def _inputs(self) -> set[str]:
        return {node.name for node in self._engine._model.session.get_inputs()}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._trt.cuda.stream(stream_handle)
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            return False
        self._profile, self._shapes = profile_index, {}
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
        shape = tuple(shape)
        if len(shape) != len(low) or not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            self._trt.error(f"input {name} {shape} is outside of the profile {self._profile}")
            return False
        self._shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        return sorted(self._inputs() - self._shapes.keys())

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert not self.infer_shapes()
        return self._engine._model.outputs(self._shapes)[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if not memory or memory % 256:
            self._trt.error(f"the address of {name} is null or not aligned")
            return False
        self._addresses[name] = memory
        return True

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        assert isinstance(output_allocator, self._trt.IOutputAllocator)
        self._allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._busy.acquire(blocking=False), "two threads in one context"
        try:
            assert not self.infer_shapes(), "a run without shapes"
            if "fake.run_error" in self._engine._model.metadata:
                self._trt.error("[runner.cpp::run::5] Error Code 1: Cask (kernel failed)")
                return False
            addresses, shapes = dict(self._addresses), dict(self._shapes)
            # Memory for outputs of unknown length is asked for while the call lasts.
            needed = {name for name in self._engine._model.outputs(shapes) if name not in self._allocators}
            assert addresses.keys() >= needed | shapes.keys(), "a tensor without an address"
            self._trt.cuda.stream(stream_handle).enqueue(lambda: self._run(addresses, shapes))
            return all(self._ask(allocator, name) for name, allocator in self._allocators.items())
        finally:
            self._busy.release()

    def _ask(self, allocator: Any, name: str) -> bool:
        # An upper bound, as TensorRT asks for where it does not know better.
        self._addresses[name] = allocator.reallocate_output_async(name, 0, 1 << 16, 256, 0)
        return self._addresses[name] != 0

    def _run(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
        model = self._engine._model
        dtypes = {node.name: numpy_type(node.type) for node in self._engine._nodes()}
        feeds = {name: self._view(addresses[name], dtypes[name], shape) for name, shape in shapes.items()}
        for name, array in model.run({name: view.copy() for name, view in feeds.items()}).items():
            allocator = self._allocators.get(name)
            if allocator is not None:
                allocator.notify_shape(name, array.shape)
            if array.size:
                self._view(
                    self._addresses[name] if allocator else addresses[name], dtypes[name], array.shape
                )[...] = array

    def _view(self, address: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        assert self._trt.cuda.device.holds(address, nbytes), "device memory that is not there, or too small"
        memory = (ctypes.c_uint8 * nbytes).from_address(address)
        return np.frombuffer(memory, dtype=dtype).reshape(shape)
