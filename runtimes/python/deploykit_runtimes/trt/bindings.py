"""Which module provides TensorRT's Python API, and every difference between its versions.

TensorRT 10 still knows weakly typed networks, 11 and RTX do not: networks are strongly typed
everywhere here, so that precision comes from the ONNX file alone. What only one flavour has is asked
of the module itself, never derived from its version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

from deploykit_runtimes.errors import OptionError, RuntimeUnavailableError
from deploykit_runtimes.optional import require
from deploykit_runtimes.trt.messages import Messages, make_logger

__all__ = ["Bindings", "Flavour", "TrtRuntime", "load_bindings"]

Flavour = Literal["tensorrt", "tensorrt-rtx"]
TrtRuntime = Literal["trt", "trt-rtx"]

_OLDEST = 10


@dataclass(frozen=True, kw_only=True)
class Bindings:
    """An imported TensorRT.

    Attributes:
        trt: The module.
        flavour: TensorRT, or TensorRT for RTX.
        version: For instance ``10.16.1.11``.
        messages: What it said last.
        logger: Its logger; one for the process, as TensorRT wants it.
    """

    trt: Any
    flavour: Flavour
    version: str
    messages: Messages
    logger: Any

    @property
    def is_rtx(self) -> bool:
        return self.flavour == "tensorrt-rtx"

    @property
    def needs_gpu_to_build(self) -> bool:
        """TensorRT measures kernels on the GPU it builds for; RTX compiles them where they run."""
        return not self.is_rtx

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def start(self, make: Callable[[], Any]) -> Any:
        """Construct an object of TensorRT's; where it cannot, the bindings raise TypeError and log why.

        Raises:
            RuntimeUnavailableError: what TensorRT said about it.
        """
        self.messages.clear()
        try:
            return make()
        except TypeError as error:
            raise RuntimeUnavailableError(
                f"{self.flavour} {self.version} cannot start: {self.messages.last_error()}",
                hint="`deploykit doctor` looks at driver, GPU and libraries.",
            ) from error

    def network_flags(self) -> int:
        """Explicit batch (the only kind in 11) and strong typing; the numbers differ by version."""
        members = self.trt.NetworkDefinitionCreationFlag.__members__
        wanted = ("EXPLICIT_BATCH", "STRONGLY_TYPED")
        return sum(1 << int(members[name]) for name in wanted if name in members)

    def compute_capabilities(self) -> dict[str, Any]:
        """Targets of a build without their GPU: ``8.6`` -> the enum's member; empty for TensorRT."""
        if not hasattr(self.trt, "ComputeCapability"):
            return {}
        members = self.trt.ComputeCapability.__members__
        numbers = {name: name.removeprefix("SM") for name in members if name.startswith("SM")}
        return {f"{number[:-1]}.{number[-1]}": members[name] for name, number in numbers.items()}

    def targets(self, wanted: tuple[str, ...]) -> tuple[Any, ...]:
        """The enum's members of compute capabilities.

        Raises:
            OptionError: one of them is unknown, or this flavour builds for the GPU of the machine alone.
        """
        known = self.compute_capabilities()
        if wanted and not known:
            raise OptionError(
                "TensorRT builds for the GPU that it runs on; only trt-rtx takes other targets.",
                hint="Build with --runtime trt-rtx, or on a machine with that GPU; --compatibility ampere+ "
                "makes one engine for several.",
            )
        for name in wanted:
            if name not in known:
                raise OptionError(
                    f"{self.flavour} {self.version} builds for the compute capabilities "
                    f"{', '.join(known)}, found {name!r}.",
                    hint="https://developer.nvidia.com/cuda-gpus lists the capability of every GPU.",
                )
        return tuple(known[name] for name in wanted)


def load_bindings(runtime: TrtRuntime, *, purpose: str) -> Bindings:
    """Import TensorRT (``trt``) or TensorRT for RTX (``trt-rtx``).

    Raises:
        DependencyError: it is not installed, or lacks a library.
        RuntimeUnavailableError: it is older than what this adapter is written for.
    """
    is_rtx = runtime == "trt-rtx"
    names = ("tensorrt_rtx", "tensorrt_rtx_bindings") if is_rtx else ("tensorrt", "tensorrt_bindings")
    found = next((name for name in names if find_spec(name) is not None), names[0])
    trt = require(found, extra="tensorrt-rtx" if is_rtx else "tensorrt", purpose=purpose)
    return describe(trt)


_described: dict[str, Bindings] = {}


def describe(trt: ModuleType | Any) -> Bindings:
    """What an imported module is. The same module always gives the same logger.

    Raises:
        RuntimeUnavailableError: it is older than TensorRT 10.
    """
    if trt.__name__ in _described:
        return _described[trt.__name__]
    flavour: Flavour = "tensorrt-rtx" if hasattr(trt, "IRuntimeCache") else "tensorrt"
    version = str(trt.__version__)
    if flavour == "tensorrt" and int(version.partition(".")[0]) < _OLDEST:
        raise RuntimeUnavailableError(
            f"TensorRT {_OLDEST} or newer is needed, found {version}.",
            hint="Upgrade it: pip install -U 'deploykit[tensorrt]'",
        )
    messages = Messages()
    found = Bindings(
        trt=trt, flavour=flavour, version=version, messages=messages, logger=make_logger(trt, messages)
    )
    return _described.setdefault(trt.__name__, found)
