"""TensorRT without a GPU, under the recorded API of a real version: engines that ONNX Runtime computes.

What the adapter may call and set is what the recorded bindings have (``api/*.json``); anything else is an
AttributeError here. The contract of the documentation is kept: shapes before addresses, addresses before
runs, one thread per context, memory from CUDA, answers not before the stream was waited for, plans that
load on the GPU and version they were built for alone. A breach ends the test.
"""

from __future__ import annotations

import ctypes
import enum
import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
from fake_cuda import FakeCuda

API = Path(__file__).parent / "api"
VERSIONS = ("tensorrt-10.16", "tensorrt-11.4", "tensorrt-rtx-1.7")
_MAGIC = b"ftrt"


def recorded(name: str) -> dict[str, Any]:
    """The API of a real version: ``tensorrt-10.16``, ``tensorrt-11.4`` or ``tensorrt-rtx-1.7``."""
    found: dict[str, Any] = json.loads((API / f"{name}.json").read_text())
    return found


class Recorded:
    """A class of the bindings: only what is recorded of it can be called, read and set."""

    _api: ClassVar[dict[str, Any]] = {}

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in self._api.get(type(self).__name__, (name,)):
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        known = self._api.get(type(self).__name__)
        if not name.startswith("_") and known is not None and known.get(name) != "property":
            raise AttributeError(f"{type(self).__name__} has no property {name}")
        object.__setattr__(self, name, value)


class FakeTensorRT:
    """The module.

    Args:
        version: A recorded version.
        cuda: Where its memory comes from.
        gpu: Name of the GPU that it finds.

    Attributes:
        built: Number of plans that were built.
        layers: What the inspector tells about every engine.
        free_contexts: How many more contexts fit into memory; None: any number.
        broken: Its libraries cannot start.
    """

    def __init__(self, version: str, cuda: FakeCuda, *, gpu: str = "NVIDIA Fake") -> None:
        api = recorded(version)
        self.__name__ = f"fake-{version}-{id(self)}"
        self.__version__ = api["version"]
        self.cuda, self.gpu, self.api = cuda, gpu, api
        self.built = 0
        self.contexts = 0
        self.free_contexts: int | None = None
        self.broken = False
        self.layers: Any = [
            {"Name": "conv", "Outputs": [{"Format/Datatype": "Row major linear FP32"}]},
            {"Name": "shape", "Outputs": [{"Format/Datatype": "Row major linear INT32"}]},
        ]
        self.logger: Any = None
        for name, members in api["enums"].items():
            made = enum.IntEnum(name.rpartition(".")[2], members)  # type: ignore[misc]
            if "." not in name:
                setattr(self, name, made)
        severity = enum.IntEnum("Severity", api["enums"]["ILogger.Severity"])  # type: ignore[misc]
        self.ILogger = type("ILogger", (), {"Severity": severity})
        self.IProgressMonitor = type("IProgressMonitor", (), {})
        self.IOutputAllocator = type("IOutputAllocator", (), {})
        if "IRuntimeCache" in api["classes"]:
            self.IRuntimeCache = FakeRuntimeCache
        for cls in (Builder, OnnxParser, Runtime, Refitter, OnnxParserRefitter):
            bound = type(cls.__name__, (cls,), {"_trt": self, "_api": api["classes"]})
            setattr(self, cls.__name__, bound)

    def make(self, cls: type, *args: Any) -> Any:
        """An object of a class whose constructor the bindings hide."""
        return type(cls.__name__, (cls,), {"_trt": self, "_api": self.api["classes"]})(*args)

    def start(self, logger: Any) -> None:
        """What constructors do; the bindings raise TypeError where the library returns nothing."""
        self.logger = logger
        if self.broken:
            self.error("CUDA initialization failed with error 999")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def error(self, text: str) -> None:
        self.logger.log(self.ILogger.Severity.ERROR, text)


class Builder(Recorded):
    _trt: FakeTensorRT

    def __init__(self, logger: Any) -> None:
        self._trt.start(logger)

    def create_network(self, flags: int = 0) -> Any:
        members = self._trt.api["enums"]["NetworkDefinitionCreationFlag"]
        assert flags >> members["STRONGLY_TYPED"] & 1, "a weakly typed network"
        return self._trt.make(INetworkDefinition)

    def create_builder_config(self) -> Any:
        return self._trt.make(IBuilderConfig)

    def create_optimization_profile(self) -> Any:
        return self._trt.make(IOptimizationProfile)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        trt = self._trt
        if not _report_phases(config.progress_monitor):
            return None
        problem = network._model.metadata.get("fake.build_error")
        if problem:
            trt.error(f"[graph.cpp::build::12] Error Code 4: {problem}")
            return None
        trt.built += 1
        stripped = int(trt.BuilderFlag.STRIP_PLAN) in config._flags
        head = {
            "version": trt.__version__,
            "gpu": trt.gpu,
            "flags": sorted(config._flags),
            "level": config.builder_optimization_level,
            "compatible": int(config.hardware_compatibility_level),
            "capabilities": [int(config._capabilities[i]) for i in range(config.num_compute_capabilities)]
            if "ComputeCapability" in trt.api["enums"]
            else [],
            "profiles": [profile._shapes for profile in config._profiles],
            "stripped": stripped,
        }
        body = b"" if stripped else network._model.data
        text = json.dumps(head).encode()
        return memoryview(_MAGIC + len(text).to_bytes(4, "little") + text + body)


def _report_phases(monitor: Any) -> bool:
    monitor.phase_start("Building engine", None, 2)
    monitor.phase_start("Timing", "Building engine", 4)
    steps = [monitor.step_complete("Timing", step) for step in range(4)]
    monitor.phase_finish("Timing")
    steps.append(monitor.step_complete("Building engine", 0))
    monitor.phase_finish("Building engine")
    return all(steps)


class INetworkDefinition(Recorded):
    _model: Any = None


class IBuilderConfig(Recorded):
    _trt: FakeTensorRT

    def __init__(self) -> None:
        self._flags = {int(self._trt.BuilderFlag.TF32)}
        self._profiles: list[Any] = []
        self._capabilities: dict[int, Any] = {}
        self._timings = b""
        self.progress_monitor = None
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = 0
        if "num_compute_capabilities" in self._api["IBuilderConfig"]:
            self.num_compute_capabilities = 0

    def set_flag(self, flag: Any) -> None:
        self._flags.add(int(flag))

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(int(flag))

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        assert index < self.num_compute_capabilities
        self._capabilities[index] = compute_capability
        return True

    def create_timing_cache(self, serialized_timing_cache: Any) -> Any:
        return self._trt.make(ITimingCache, bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache._data and not cache._data.startswith(self._trt.__version__.encode()):
            return False
        self._timings = cache._data
        return True

    def get_timing_cache(self) -> Any:
        return self._trt.make(ITimingCache, self._trt.__version__.encode() + b" timings")


class ITimingCache(Recorded):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> bytes:
        return self._data


class IOptimizationProfile(Recorded):
    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert len(min) == len(opt) == len(max) > 0
        self._shapes[input] = [list(min), list(opt), list(max)]


class _Model:
    """An ONNX file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        proto = onnx.load_from_string(data)
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.data_dependent = any(
            node.op_type in ("NonZero", "NonMaxSuppression") for node in proto.graph.node
        )

    def outputs(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs, -1 where only the data tells."""
        feeds = {n.name: np.zeros(shapes[n.name], _numpy(n.type)) for n in self.session.get_inputs()}
        found = self.run(feeds)
        nodes = {node.name: node.shape for node in self.session.get_outputs()}
        return {
            name: tuple(
                -1 if self.data_dependent and not isinstance(wanted, int) else n
                for n, wanted in zip(array.shape, nodes[name], strict=True)
            )
            for name, array in found.items()
        }

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [node.name for node in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, feeds), strict=True))


def _numpy(kind: str) -> Any:
    names = {"float": "float32", "float16": "float16", "uint8": "uint8", "int64": "int64", "int32": "int32"}
    return np.dtype(names[kind.removeprefix("tensor(").removesuffix(")")])


class OnnxParser(Recorded):
    _trt: FakeTensorRT

    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._errors = network, []

    def parse_from_file(self, model: str) -> bool:
        found = _Model(Path(model).read_bytes())
        problem = found.metadata.get("fake.parse_error")
        if problem:
            self._errors.append(self._trt.make(ParserError, problem))
            return False
        self._network._model = found
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]


class ParserError(Recorded):
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text

    def node(self) -> int:
        return 7

    def node_name(self) -> str:
        return "/model/Resize"

    def node_operator(self) -> str:
        return "Resize"


class Runtime(Recorded):
    _trt: FakeTensorRT

    def __init__(self, logger: Any) -> None:
        self._trt.start(logger)
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        trt, data = self._trt, bytes(serialized_engine)
        assert getattr(trt.cuda.selected, "device", None) is not None, "no GPU was selected on this thread"
        if not data.startswith(_MAGIC):
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
        return (2, 0) if bytes(buffer).startswith(_MAGIC) else (2, 32)


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
        if "fake.refit_error" in (found := _Model(Path(model).read_bytes())).metadata:
            self._trt.error("a weight is missing")
            return False
        self._refitter._engine._model = found
        return True


class ICudaEngine(Recorded):
    _trt: FakeTensorRT

    def __init__(self, head: dict[str, Any], body: bytes) -> None:
        self._head = head
        self._model = _Model(body) if body else None

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
        return self._trt.DataType[names[_numpy(self._node(name).type).name]]

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
        dtypes = {node.name: _numpy(node.type) for node in self._engine._nodes()}
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
