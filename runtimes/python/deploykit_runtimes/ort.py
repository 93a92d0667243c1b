"""ONNX Runtime adapter: CPU, CUDA and TensorRT execution providers, with proof of what ran."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from deploykit_runtimes.cores import usable_cores
from deploykit_runtimes.errors import InputError, ModelError, RuntimeUnavailableError
from deploykit_runtimes.foreign import infer_spec
from deploykit_runtimes.metadata import has_metadata, spec_from_metadata
from deploykit_runtimes.optional import require
from deploykit_runtimes.runner import Placement, TensorInfo, check_feeds
from deploykit_runtimes.spec import ModelSpec

__all__ = ["Device", "OrtRunner", "has_nvidia_driver", "open_ort"]

Device = Literal["cpu", "cuda", "tensorrt"]

_PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def open_ort(
    path: str | Path, *, device: Device = "cpu", threads: int | None = None, strict: bool = False
) -> OrtRunner:
    """Load an ONNX file into ONNX Runtime.

    Args:
        path: The .onnx file.
        device: Where it must run. There is no fall-back to another device.
        threads: Threads inside one operator; None uses every core the process may use.
        strict: Refuse a model of which any node runs on another provider than the requested one.

    Raises:
        DependencyError: onnxruntime is not installed.
        ModelError: the file is missing, not an ONNX model, or its metadata is damaged.
        RuntimeUnavailableError: the requested provider cannot run here, or ``strict`` is violated.
    """
    ort = require("onnxruntime", extra="gpu" if device != "cpu" else "cpu", purpose="run this model")
    _require_provider(ort, device)
    session = _open_session(ort, Path(path), device, threads)
    wanted = _PROVIDERS[device]
    if session.get_providers()[0] != wanted:
        raise RuntimeUnavailableError(
            f"{wanted} was asked for, ONNX Runtime could only start {', '.join(session.get_providers())}.",
            hint="`deploykit doctor` lists the libraries it needs; --runtime ort-cpu runs on the CPU.",
        )
    runner = OrtRunner(session, version=ort.__version__, device=device)
    if strict:
        _refuse_strays(runner.placement(), wanted)
    return runner


class OrtRunner:
    """A model in an ONNX Runtime session. Keeps the ``Runner`` protocol."""

    def __init__(self, session: Any, *, version: str, device: Device) -> None:
        self._session: Any = session
        self._version = version
        self._device = device
        self._inputs = tuple(_tensor_info(node) for node in session.get_inputs())
        self._outputs = tuple(_tensor_info(node) for node in session.get_outputs())
        self._names = [info.name for info in self._outputs]
        metadata = session.get_modelmeta().custom_metadata_map
        if has_metadata(metadata):
            self._spec = spec_from_metadata(metadata)
        else:
            self._spec = infer_spec(self._inputs, self._outputs, metadata)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return self._outputs

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph once; see ``Runner.infer``."""
        session = self._session
        if session is None:
            raise InputError("The runner was closed.", hint="Open the model again with open_runner().")
        check_feeds(self._spec, self._inputs, feeds)
        return dict(zip(self._names, session.run(self._names, dict(feeds)), strict=True))

    def placement(self) -> Placement:
        """Nodes per execution provider, as ONNX Runtime assigned them."""
        return Placement(
            engine="onnxruntime",
            version=self._version,
            device=self._device,
            providers=_nodes_per_provider(self._session),
            precision="fp16" if any(info.dtype == "float16" for info in self._inputs) else "fp32",
        )

    def close(self) -> None:
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _require_provider(ort: Any, device: Device) -> None:
    wanted = _PROVIDERS[device]
    if wanted not in ort.get_available_providers():
        _refuse_both_wheels(wanted)
        raise RuntimeUnavailableError(
            f"{wanted} was asked for, but the installed onnxruntime {ort.__version__} was built without it.",
            hint="Replace the wheel: pip uninstall -y onnxruntime && pip install 'deploykit[gpu]'",
        )
    if device != "cpu" and not has_nvidia_driver():
        raise RuntimeUnavailableError(
            f"{wanted} was asked for, but no NVIDIA driver is installed (libcuda.so.1 is missing).",
            hint="Install the NVIDIA driver, or run on the CPU with --runtime ort-cpu.",
        )


def _refuse_both_wheels(wanted: str) -> None:
    """onnxruntime and onnxruntime-gpu write to the same folder: the later one breaks the earlier."""
    from importlib.metadata import distributions

    installed = {str(found.name).lower() for found in distributions()}
    if {"onnxruntime", "onnxruntime-gpu"} <= installed:
        raise RuntimeUnavailableError(
            f"{wanted} was asked for, but onnxruntime and onnxruntime-gpu are both installed and one "
            "has overwritten the other.",
            hint="pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'deploykit[gpu]'",
        )


def has_nvidia_driver() -> bool:
    """Whether the NVIDIA driver's library can be loaded."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _open_session(ort: Any, path: Path, device: Device, threads: int | None) -> Any:
    if not path.is_file():
        raise ModelError(f"{path} is not a file.", hint="Write a model with: deploykit export CHECKPOINT")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.log_severity_level = 3
    # Spinning this long before sleeping is as fast as spinning for ever, at half the CPU use.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers = [_provider(name) for name in _fallbacks(device)]
    state = ort.capi.onnxruntime_pybind11_state
    broken = (
        state.InvalidProtobuf,
        state.InvalidGraph,
        state.InvalidArgument,
        state.NoModel,
        state.NoSuchFile,
    )
    unsupported = (state.Fail, state.NotImplemented, state.RuntimeException, state.EPFail)
    try:
        return ort.InferenceSession(str(path), sess_options=options, providers=providers, enable_fallback=0)
    except broken as error:
        raise ModelError(
            f"{path} is not a valid ONNX model: {_first_line(error)}",
            hint="If it is a checkpoint, export it first: deploykit export CHECKPOINT",
        ) from error
    except unsupported as error:
        raise RuntimeUnavailableError(
            f"ONNX Runtime {ort.__version__} cannot run {path} on {device}: {_first_line(error)}",
            hint="`deploykit doctor` tells what this machine can run.",
        ) from error


def _fallbacks(device: Device) -> tuple[str, ...]:
    order: dict[Device, tuple[Device, ...]] = {
        "cpu": ("cpu",),
        "cuda": ("cuda", "cpu"),
        "tensorrt": ("tensorrt", "cuda", "cpu"),
    }
    return tuple(_PROVIDERS[name] for name in order[device])


def _provider(name: str) -> tuple[str, dict[str, str]]:
    if name == "CUDAExecutionProvider":
        # TF32 would break the proof's tolerance; the default algorithm search stalls at every new shape.
        return name, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    return name, {}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]


def _tensor_info(node: Any) -> TensorInfo:
    dtype = _DTYPES.get(node.type, node.type)
    shape = tuple(n if isinstance(n, int) else str(n or "?") for n in node.shape)
    return TensorInfo(name=node.name, dtype=dtype, shape=shape)


def _nodes_per_provider(session: Any) -> dict[str, int]:
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counts: dict[str, int] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] = counts.get(subgraph.ep_name, 0) + len(subgraph.get_nodes())
    return counts


def _refuse_strays(placement: Placement, wanted: str) -> None:
    strays = {name: count for name, count in placement.providers.items() if name != wanted}
    if strays or not placement.providers:
        found = ", ".join(f"{count} on {name}" for name, count in strays.items()) or "no record of any node"
        raise RuntimeUnavailableError(
            f"--strict wants every node on {wanted}, found {found}.",
            hint="Drop --strict to accept a mixed placement, or export with a fixed size.",
        )
