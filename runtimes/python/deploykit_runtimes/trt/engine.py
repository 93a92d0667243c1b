"""Plan -> engine: deserialised, refitted where its weights were left out, and described."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError, RuntimeUnavailableError
from deploykit_runtimes.trt.bindings import Bindings
from deploykit_runtimes.trt.builder.network import advice
from deploykit_runtimes.trt.profiles import Profile, ShapeRange

__all__ = ["Engine", "EngineTensor", "load_engine"]

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
_IMAGE_AXES = ("batch", "channels", "height", "width")


@dataclass(frozen=True, kw_only=True)
class EngineTensor:
    """An input or output of an engine.

    Attributes:
        dtype: numpy dtype.
        shape: -1 where it moves.
        on_host: TensorRT reads or writes it in host memory: values that shapes depend on.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    on_host: bool

    def info(self) -> TensorInfo:
        """With names for the axes, which TensorRT drops."""
        names = _IMAGE_AXES if len(self.shape) == 4 else tuple(f"axis{i}" for i in range(len(self.shape)))
        axes = ("batch", *names[1:])
        shape = tuple(n if n >= 0 else axes[axis] for axis, n in enumerate(self.shape))
        return TensorInfo(name=self.name, dtype=self.dtype.name, shape=shape)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A deserialised engine.

    Attributes:
        bindings: The TensorRT it belongs to.
        runtime: Keeps the plan's runtime alive as long as the engine.
        handle: The ICudaEngine.
        inputs, outputs: In the engine's order.
        profiles: Shapes it takes.
    """

    bindings: Bindings
    runtime: Any
    handle: Any
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    profiles: tuple[Profile, ...]


def load_engine(
    bindings: Bindings,
    plan: bytes | memoryview,
    *,
    name: str,
    version_compatible: bool = False,
    weights: Path | None = None,
) -> Engine:
    """Deserialise a plan on the calling thread's GPU.

    Args:
        plan: The serialised engine.
        name: How messages call it.
        version_compatible: The plan holds a runtime of its own version, which is code: allow it.
        weights: The ONNX file whose weights were left out of the plan.

    Raises:
        ModelError: the plan is damaged, or has tensors of a type that numpy does not know.
        RuntimeUnavailableError: it was built for another GPU or version, or memory does not suffice.
    """
    runtime = bindings.start(lambda: bindings.trt.Runtime(bindings.logger))
    if version_compatible:
        runtime.engine_host_code_allowed = True
    handle = runtime.deserialize_cuda_engine(plan)
    if handle is None:
        _explain(bindings, runtime, plan, name)
    if weights is not None:
        _refit(bindings, handle, weights)
    tensors = [_tensor(bindings, handle, index) for index in range(handle.num_io_tensors)]
    return Engine(
        bindings=bindings,
        runtime=runtime,
        handle=handle,
        inputs=tuple(tensor for tensor, is_input in tensors if is_input),
        outputs=tuple(tensor for tensor, is_input in tensors if not is_input),
        profiles=_profiles(
            handle, [tensor.name for tensor, is_input in tensors if is_input and not tensor.on_host]
        ),
    )


def _tensor(bindings: Bindings, handle: Any, index: int) -> tuple[EngineTensor, bool]:
    trt = bindings.trt
    name = handle.get_tensor_name(index)
    dtype = handle.get_tensor_dtype(name).name
    if dtype not in _DTYPES:
        raise ModelError(
            f"The engine's tensor {name!r} has the type {dtype}, which numpy does not have.",
            hint="Cast it to float inside the graph.",
        )
    tensor = EngineTensor(
        name=name,
        dtype=np.dtype(_DTYPES[dtype]),
        shape=tuple(handle.get_tensor_shape(name)),
        on_host=handle.get_tensor_location(name) == trt.TensorLocation.HOST,
    )
    return tensor, handle.get_tensor_mode(name) == trt.TensorIOMode.INPUT


def _profiles(handle: Any, inputs: list[str]) -> tuple[Profile, ...]:
    profiles = []
    for index in range(handle.num_optimization_profiles):
        profile = {}
        for name in inputs:
            low, best, high = (tuple(shape) for shape in handle.get_tensor_profile_shape(name, index))
            profile[name] = ShapeRange(min=low, opt=best, max=high)
        profiles.append(profile)
    return tuple(profiles)


def _refit(bindings: Bindings, handle: Any, weights: Path) -> None:
    trt = bindings.trt
    refitter = bindings.start(lambda: trt.Refitter(handle, bindings.logger))
    parser = trt.OnnxParserRefitter(refitter, bindings.logger)
    if not parser.refit_from_file(str(weights)) or not refitter.refit_cuda_engine():
        raise ModelError(
            f"The weights of {weights} do not fit the engine: {bindings.messages.last_error()}",
            hint="Build the engine again: deploykit build MODEL --strip-weights",
        )


def _explain(bindings: Bindings, runtime: Any, plan: bytes | memoryview, name: str) -> None:
    reason = bindings.messages.last_error()
    if hasattr(runtime, "get_engine_validity"):
        bits = int(runtime.get_engine_validity(plan)[1])
        members = bindings.trt.EngineInvalidityDiagnostics.__members__.items()
        found = [word.lower().replace("_", " ") for word, bit in members if bits & int(bit)]
        reason = ", ".join(found) or reason
        if "malformed engine" in found:
            raise ModelError(f"{name} is damaged or not an engine of {bindings.flavour}: {reason}.")
        if "unsupported cc" in found:
            raise RuntimeUnavailableError(
                f"{name} does not run on this GPU: {bindings.flavour} has no kernels for it.",
                hint="--runtime trt or ort-cuda runs on every NVIDIA GPU.",
            )
    raise RuntimeUnavailableError(
        f"{bindings.flavour} {bindings.version} cannot load {name}: {reason}",
        hint=advice(reason) if "memory" in reason.lower() else "Build it here: deploykit build MODEL",
    )
