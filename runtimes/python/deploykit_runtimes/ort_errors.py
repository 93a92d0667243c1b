"""What ONNX Runtime could not do, as one of our errors; in the texts of C++ (``engine_errors.cpp``)."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from deploykit_runtimes.errors import DeploykitError, ModelError, RuntimeUnavailableError

__all__ = ["failures", "load_error", "run_error"]

_BROKEN = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "NoSuchFile")
_BROKEN_ON_THE_CPU = ("Fail", "RuntimeException", "RuntimeError")
_OTHER_VERSION = re.compile(r"nsupported|not implemented|opset|registered|not support")
"""Other versions of ONNX Runtime may know more operators and formats."""

_NODE = re.compile(r"while running (.*?) node\. Name:'(.*?)'")
_ASKED = re.compile(r"requested buffer of size (\d+)|requested bytes of (\d+)")
_NO_MEMORY = re.compile(r"bad_alloc|ut of memory|Failed to allocate|Integer overflow")
_LESS = "Give it smaller images or a smaller batch, or a machine with more memory."


def failures() -> tuple[type[Exception], ...]:
    """What a call of ONNX Runtime raises."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [
        found
        for found in vars(state).values()
        if isinstance(found, type) and issubclass(found, Exception) and found.__module__ == state.__name__
    ]
    return (*own, RuntimeError, MemoryError)


def load_error(version: str, path: Path, device: str, error: Exception) -> DeploykitError:
    """A file that was not loaded onto a device."""
    said, kind = str(error), type(error).__name__
    asked = _asked(said)
    if asked or isinstance(error, MemoryError) or "bad_alloc" in said:
        return ModelError(
            f"{path} needs more memory than there is to load it with ONNX Runtime {version}"
            f"{asked and f': it asks for {asked} bytes'}.",
            hint="Free memory, or load it on a larger machine.",
        )
    broken = device == "cpu" and kind in _BROKEN_ON_THE_CPU and not _OTHER_VERSION.search(said)
    if broken or kind in _BROKEN:
        return ModelError(
            f"{path} is not a valid ONNX model: {_reason(error)}",
            hint="If it is a checkpoint, export it first: deploykit export CHECKPOINT",
        )
    return RuntimeUnavailableError(
        f"ONNX Runtime {version} cannot run {path} on {device}: {_reason(error)}",
        hint="`deploykit doctor` tells what this machine can run.",
    )


def run_error(version: str, error: Exception) -> ModelError:
    """A graph that was not run to its end; where memory ran out, what asked for how much."""
    said = str(error)
    node = _NODE.search(said)
    where = f" in the node {node[1]}" + (f" {node[2]!r}" if node[2] else "") if node else ""
    asked = _asked(said)
    if asked or isinstance(error, MemoryError) or _NO_MEMORY.search(said):
        return ModelError(
            f"ONNX Runtime {version} ran out of memory{where}{asked and f', which asks for {asked} bytes'}.",
            hint=_LESS,
        )
    return ModelError(
        f"ONNX Runtime {version} cannot run the model{where}: {_reason(error)}",
        hint="The graph contradicts itself or these inputs: export it again.",
    )


def _asked(said: str) -> str:
    found = _ASKED.search(said)
    return next(filter(None, found.groups())) if found else ""


def _reason(error: Exception) -> str:
    """The first line that says something; some engines begin with where in their sources they noticed."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    telling = [line for line in lines if "Exception from " not in line]
    return (telling or lines or [type(error).__name__])[0][:300]
