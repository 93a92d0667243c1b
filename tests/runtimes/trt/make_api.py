"""Record the Python API of a TensorRT wheel as JSON: the fake is held against it, and so is the adapter.

    pip download --no-deps tensorrt-cu13-bindings==10.16.1.11
    python make_api.py tensorrt_cu13_bindings-10.16.1.11-*.whl api/tensorrt-10.16.json

The bindings of TensorRT link to libraries of several GB, which only a GPU can use. To be imported they
need but their names: empty libraries are made for them, with gcc. Those of TensorRT for RTX are
installed (``tensorrt-rtx-cu13-libs``), and recorded with: python make_api.py tensorrt_rtx_bindings OUT
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

CLASSES = (
    "ILogger",
    "Builder",
    "INetworkDefinition",
    "OnnxParser",
    "ParserError",
    "IBuilderConfig",
    "IOptimizationProfile",
    "IProgressMonitor",
    "Runtime",
    "ICudaEngine",
    "IExecutionContext",
    "IRuntimeConfig",
    "IRuntimeCache",
    "EngineInspector",
    "IOutputAllocator",
    "ITimingCache",
    "IHostMemory",
    "Refitter",
    "OnnxParserRefitter",
)
ENUMS = (
    "ILogger.Severity",
    "NetworkDefinitionCreationFlag",
    "BuilderFlag",
    "HardwareCompatibilityLevel",
    "ProfilingVerbosity",
    "DataType",
    "TensorIOMode",
    "TensorLocation",
    "LayerInformationFormat",
    "ComputeCapability",
    "CudaGraphStrategy",
    "EngineInvalidityDiagnostics",
)
OVERRIDES = ("reallocate_output_async", "notify_shape", "phase_start", "step_complete", "phase_finish", "log")
NAMES = {
    "nvinfer": (
        "createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL "
        "getBuilderPluginRegistry getPluginRegistry"
    ),
    "nvonnxparser": (
        "createNvOnnxParser_INTERNAL createNvOnnxParserRefitter_INTERNAL getNvOnnxParserVersion"
    ),
    "nvinfer_plugin": "initLibNvInferPlugins",
}


def record(trt: Any) -> dict[str, Any]:
    """Classes with their methods and properties, enums with their values."""
    binary = Path(importlib.import_module(f"{trt.__name__}.{_extension(trt)}").__file__).read_bytes()
    return {
        "version": trt.__version__,
        "classes": {name: _members(getattr(trt, name)) for name in CLASSES if hasattr(trt, name)},
        "enums": {name: _values(trt, name) for name in ENUMS if _find(trt, name) is not None},
        "overrides": [name for name in OVERRIDES if name.encode() in binary],
    }


def _extension(trt: Any) -> str:
    return "tensorrt_rtx" if "rtx" in trt.__name__ else "tensorrt"


def _find(trt: Any, name: str) -> Any:
    for part in name.split("."):
        trt = getattr(trt, part, None)
    return trt


def _values(trt: Any, name: str) -> dict[str, int]:
    return {member: int(value) for member, value in _find(trt, name).__members__.items()}


def _members(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {"__init__": _signatures(cls.__init__.__doc__ or "")}
    for name in sorted(vars(cls)):
        member = getattr(cls, name)
        if name.startswith("_") or not (callable(member) or isinstance(member, property)):
            continue
        if cls.__name__ == "INetworkDefinition" and name.startswith("add_"):
            continue  # networks come from the parser
        found[name] = "property" if isinstance(member, property) else _signatures(member.__doc__ or "")
    return found


def _signatures(text: str) -> list[list[str]]:
    """Parameter names of each overload, ``?`` behind those with a default; pybind11 writes them first."""
    lines = re.findall(r"^(?:\d+\. )?\w+\((.*)\) -> .*$", text, re.MULTILINE)
    return [_parameters(line) for line in lines if not line.startswith("*args")]


def _parameters(text: str) -> list[str]:
    depth, part, parts = 0, "", []
    for letter in text:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += letter
    names = [p.partition(":")[0].strip() + ("?" if " = " in p else "") for p in [*parts, part] if p.strip()]
    return [name for name in names if name != "self"]


def record_wheel(wheel: Path) -> dict[str, Any]:
    """Import a bindings wheel in a new process, over empty libraries."""
    major = re.search(r"-(\d+)\.", wheel.name)
    assert major is not None
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        for library, names in NAMES.items():
            source = Path(folder, f"{library}.c")
            source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in names.split()))
            name = f"lib{library}.so.{major[1]}"
            command = [
                "gcc",
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{name}",
                "-o",
                f"{folder}/{name}",
                str(source),
            ]
            subprocess.run(command, check=True)
        environment = {**os.environ, "LD_LIBRARY_PATH": folder, "PYTHONPATH": folder}
        command = [sys.executable, __file__, "tensorrt_bindings", f"{folder}/api.json"]
        subprocess.run(command, check=True, env=environment)
        found: dict[str, Any] = json.loads(Path(folder, "api.json").read_text())
        return found


def main(source: str, target: str) -> None:
    api = record_wheel(Path(source)) if source.endswith(".whl") else record(importlib.import_module(source))
    Path(target).write_text(json.dumps(api, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
