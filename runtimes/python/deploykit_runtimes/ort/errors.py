"""What ONNX Runtime could not do, as one of our errors; in the texts of C++ (``ort/api/errors.cpp``)."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from deploykit_runtimes.errors import DeploykitError, ModelError, RuntimeUnavailableError
from deploykit_runtimes.machine.memory_limit import MEMORY

__all__ = ["failures", "load_error", "no_memory", "out_of_memory", "run_error"]

_BROKEN = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "NoSuchFile")
_BROKEN_ON_THE_CPU = ("Fail", "RuntimeException", "RuntimeError")
_OTHER_VERSION = re.compile(r"nsupported|not implemented|(?<!Missing )opset|registered|not support")
"""Other versions of ONNX Runtime may know more operators and formats."""
_NEWER_FORMAT = "Unsupported model IR version"
_SOURCES, _END_OF_SIGNATURE = "/onnxruntime_src/", ") "
"""Between these ONNX Runtime says where in its sources it noticed."""

_NODE = re.compile(r"while running (.*?) node\. Name:'(.*?)'")
_ASKED = re.compile(r"requested buffer of size (\d+)|requested bytes of (\d+)")
_NO_MEMORY = re.compile(r"bad_alloc|ut of memory|Failed to allocate|Integer overflow")
_LIFT = f"Models of its size take less; {MEMORY}=off sets no limit, and {MEMORY}=16G one of 16 GB."
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


def load_error(
    version: str, path: Path, device: str, error: Exception, *, allowed: int | None = None
) -> DeploykitError:
    """A file that was not loaded onto a device.

    Args:
        version: Of ONNX Runtime.
        path: The file.
        device: Where it was to run.
        error: What ONNX Runtime raised.
        allowed: Bytes that it could take meanwhile; None: all there are.
    """
    said, kind = str(error), type(error).__name__
    asked = _asked(said)
    if asked or isinstance(error, MemoryError) or "bad_alloc" in said:
        return no_memory(path, f"ONNX Runtime {version}", asked=asked, allowed=allowed)
    if _NEWER_FORMAT in said:
        return ModelError(
            f"{path} is in a newer form of ONNX than ONNX Runtime {version} reads: {_reason(error)}",
            hint="Update ONNX Runtime, or write the file again with an older ir_version.",
        )
    broken = device == "cpu" and kind in _BROKEN_ON_THE_CPU and not _OTHER_VERSION.search(said)
    if broken or kind in _BROKEN:
        return ModelError(
            f"{path} is not a valid ONNX model: {_reason(error)}",
            hint="If it is a checkpoint, export it first: deploykit export CHECKPOINT",
        )
    return RuntimeUnavailableError(
        f"ONNX Runtime {version} cannot run {path} on {device}: {_reason(error)}",
        hint="`deploykit doctor` shows what this machine can run.",
    )


def no_memory(path: Path, engine: str, *, asked: str = "", allowed: int | None = None) -> ModelError:
    """A file that asks for too much while it is loaded.

    Args:
        path: The file.
        engine: Its name and version.
        asked: Bytes of the request that failed, where they are known.
        allowed: Bytes that could be taken meanwhile; None: all there are.
    """
    more = "there is" if allowed is None else f"the {allowed >> 20} MB that it may take"
    return ModelError(
        f"{path} needs more memory than {more} to load it with {engine}"
        f"{asked and f': it asks for {asked} bytes'}.",
        hint="Free memory, or load it on a larger machine." if allowed is None else _LIFT,
    )


def run_error(version: str, error: Exception, *, allowed: int | None = None) -> ModelError:
    """A graph that was not run to its end; where memory ran out, what asked for how much.

    Args:
        version: Of ONNX Runtime.
        error: What it raised.
        allowed: Bytes that it could take meanwhile; None: all there are.
    """
    said = str(error)
    node = _NODE.search(said)
    where = f" in the node {node[1]}" + (f" {node[2]!r}" if node[2] else "") if node else ""
    asked = _asked(said)
    if asked or isinstance(error, MemoryError) or _NO_MEMORY.search(said):
        what = f"{where}{asked and f', which asks for {asked} bytes'}"
        return out_of_memory(f"ONNX Runtime {version}", what, allowed=allowed)
    return ModelError(
        f"ONNX Runtime {version} cannot run the model{where}: {_reason(error)}",
        hint="The graph contradicts itself or these inputs: export it again.",
    )


def out_of_memory(engine: str, what: str = "", *, allowed: int | None = None) -> ModelError:
    """A graph that took too much while it ran.

    Args:
        engine: Its name and version.
        what: Which node asked for how much, where that is known.
        allowed: Bytes that could be taken meanwhile; None: all there are.
    """
    limit = "" if allowed is None else f"; the model may take {allowed >> 20} MB"
    return ModelError(f"{engine} ran out of memory{what}{limit}.", hint=_LESS if allowed is None else _LIFT)


def _asked(said: str) -> str:
    found = _ASKED.search(said)
    return next(filter(None, found.groups())) if found else ""


def _reason(error: Exception) -> str:
    """The first line that says something; some engines begin with where in their sources they noticed."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    telling = [line for line in lines if "Exception from " not in line]
    return _without_sources((telling or lines or [type(error).__name__])[0])[:300]


def _without_sources(line: str) -> str:
    start = line.find(_SOURCES)
    end = line.find(_END_OF_SIGNATURE, start) + len(_END_OF_SIGNATURE)
    if start < 0 or end < len(_END_OF_SIGNATURE) or end == len(line):
        return line
    return f"{line[:start].rstrip()} {line[end:]}".lstrip()
