"""TensorRT without a GPU, under the recorded API of a real version: engines that ONNX Runtime computes.

What the adapter may call and set is what the recorded bindings have (``api/*.json``); anything else is an
AttributeError here. The contract of the documentation is kept: shapes before addresses, addresses before
runs, one thread per context, memory from CUDA, answers not before the stream was waited for, plans that
load on the GPU and version they were built for alone. A breach ends the test."""

from __future__ import annotations

import enum
from typing import Any

from fake_builder import Builder, OnnxParser
from fake_cuda import FakeCuda
from fake_engine import FakeRuntimeCache, OnnxParserRefitter, Refitter, Runtime
from fake_recorded import recorded


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
