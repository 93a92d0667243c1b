"""OpenVINO adapter: CPU, GPU and NPU, with the precision that every layer really runs at."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import InputError, ModelError, RuntimeUnavailableError
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.machine.exhausted import exhausted
from deploykit_runtimes.machine.memory_limit import first_run, loading
from deploykit_runtimes.machine.trusted_folder import locked, trusted_folder
from deploykit_runtimes.onnx.file import OnnxFile, map_onnx, read_onnx
from deploykit_runtimes.onnx.model_files import model_bytes
from deploykit_runtimes.optional import require
from deploykit_runtimes.ort.errors import no_memory, out_of_memory
from deploykit_runtimes.ort.rewrites import Rewritten, rewrite_for_openvino
from deploykit_runtimes.ort.saturation import saturates
from deploykit_runtimes.ort.unsigned import joins_signed
from deploykit_runtimes.runner import BaseRunner, Placement, check_feeds

__all__ = ["OpenVinoDevice", "OpenVinoRunner", "load_openvino", "open_openvino"]

OpenVinoDevice = Literal["cpu", "gpu", "npu"]

_NAMES = {
    "f32": "fp32",
    "f16": "fp16",
    "bf16": "bf16",
    "f64": "fp64",
    "i8": "int8",
    "u8": "int8",
    "i4": "int4",
    "u4": "uint4",
}
_first_calls = threading.Lock()
"""OpenVINO's bindings set static objects up in the first calls, for which one thread holds Python's lock and
waits for the object, and another the object and waits for Python's lock: two first calls hang for ever."""

_NOT_WORK = ("Const", "Input", "Output")
_KERNELS = 1000
"""Kernels that the CPU keeps for the shapes it has seen. With OpenVINO's own limit of 5000 a YOLOv8n that saw
300 shapes holds 830 MB and grows on; with 1000 it stays at 390 MB."""
_HEAVY = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_DRIVERS = {
    "cpu": "Reinstall it: pip install --force-reinstall openvino",
    "gpu": "Install Intel's GPU driver (packages intel-opencl-icd and libze1), and give the process access "
    "to /dev/dri (group render).",
    "npu": "Install Intel's NPU driver (intel-level-zero-npu), and give the process access to /dev/accel.",
}


def load_openvino() -> ModuleType:
    """The module. Its import reports what runs to its makers, from a process that is forked for it and that
    Ctrl-C tears; where the package for that is missing, OpenVINO has a stand-in of its own.

    Raises:
        DependencyError: it is not installed.
    """
    reporting = "openvino_telemetry"
    hidden = not {"openvino", reporting} & sys.modules.keys()
    if hidden:
        sys.modules[reporting] = None  # type: ignore[assignment] # as the import system spells "not there"
    try:
        return require("openvino", extra="openvino", purpose="run this model on OpenVINO")
    finally:
        if hidden:
            sys.modules.pop(reporting, None)


def open_openvino(
    path: str | Path, *, device: OpenVinoDevice = "cpu", options: EngineOptions | None = None
) -> OpenVinoRunner:
    """Load an ONNX file into OpenVINO.

    CPUs with bf16 units run FP32 models in bf16 unless told otherwise; here they keep the model's
    precision unless ``options.precision`` is ``auto``. NPUs know no FP32: they always choose.

    Args:
        path: The .onnx file.
        device: Where it must run. There is no fall-back to another device.
        options: See ``EngineOptions``.

    Raises:
        DependencyError: openvino is not installed.
        ModelError: the file is missing, not an ONNX model, or its metadata is damaged.
        RuntimeUnavailableError: the device is not there or cannot run the model, or
            ``options.strict`` is violated.
    """
    options = options or EngineOptions()
    openvino = load_openvino()
    file = read_onnx(path)
    core = openvino.Core()
    found = core.available_devices
    if device.upper() not in {name.partition(".")[0] for name in found}:
        raise RuntimeUnavailableError(
            f"OpenVINO's {device.upper()} was asked for, it finds only {', '.join(found) or 'nothing'} here.",
            hint=f"{_DRIVERS[device]} ov-cpu runs here.",
        )
    if options.detached:
        core.set_property({"ENABLE_MMAP": False})
    form = rewrite_for_openvino(Path(path), options, file)
    compiled = _compiled(openvino, core, Path(path), file, device, options=options, form=form)
    spec = file.spec(options.outputs)
    version = openvino.__version__.partition("-")[0]
    runner = OpenVinoRunner(
        compiled,
        file,
        spec=spec,
        version=version,
        device=device,
        saturating=device == "cpu" and saturates(Path(path), file),
        joining=form.model is None and _joins_signed(Path(path), file),
        rewrites=form.names,
    )
    if options.strict:
        _refuse_lower_precision(runner.placement())
    return runner


def _joins_signed(path: Path, file: OnnxFile) -> bool:
    """Whether OpenVINO computes a part of a file wrongly; see ``ort.unsigned``."""
    if not file.weights.get("int8"):
        return False
    try:
        return joins_signed(map_onnx(path))
    except (ValueError, IndexError, OSError):
        return False  # for OpenVINO to refuse


def _compiled(
    openvino: Any,
    core: Any,
    path: Path,
    file: OnnxFile,
    device: OpenVinoDevice,
    *,
    options: EngineOptions,
    form: Rewritten,
) -> Any:
    """The model as OpenVINO compiled it for a device."""
    place = _place(device, options.gpu, core.available_devices)
    engine = f"OpenVINO {openvino.__version__.partition('-')[0]}"
    with loading(model_bytes(path, file)) if device == "cpu" else nullcontext() as allowed:
        try:
            model = core.read_model(str(path)) if form.model is None else core.read_model(form.model, b"")
        except (RuntimeError, MemoryError) as error:
            if exhausted(error):
                raise no_memory(path, engine, allowed=allowed) from error
            raise ModelError(f"OpenVINO cannot read {path}: {_reason(error)}") from error
        settings = _configuration(device, options)  # makes the cache's folder
        try:
            with locked(options.cache):
                return core.compile_model(model, place, settings)
        except (RuntimeError, MemoryError) as error:
            if exhausted(error):
                raise no_memory(path, engine, allowed=allowed) from error
            raise RuntimeUnavailableError(
                f"OpenVINO cannot compile {path} for {device.upper()}: {_reason(error)}",
                hint="--runtime ort-cpu runs every model that deploykit exports.",
            ) from error


class OpenVinoRunner(BaseRunner):
    """A model compiled by OpenVINO. Keeps the ``Runner`` protocol.

    Threads run at once, each in an infer request of its own; there are as many as the device
    works on at a time, so that memory does not grow with the number of callers.
    """

    def __init__(
        self,
        compiled: Any,
        file: OnnxFile,
        *,
        spec: ModelSpec,
        version: str,
        device: OpenVinoDevice,
        saturating: bool = False,
        joining: bool = False,
        rewrites: tuple[str, ...] = (),
    ) -> None:
        self._saturating = saturating
        self._joining = joining
        self._rewrites = rewrites
        self._spec = spec
        self._inputs, self._outputs = file.inputs, file.outputs
        self._version = version
        self._device = device
        self._requests: _Requests | None = _Requests(compiled)
        self._is_set_up = False
        self._placement = self._read_placement(compiled)

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph once; see ``Runner.infer``."""
        requests = self._requests
        if requests is None:
            raise InputError("The runner was closed.", hint="Open the model again with open_runner().")
        check_feeds(self._spec, self._inputs, feeds)
        arrays = [np.asarray(feeds[info.name], order="C") for info in self._inputs]
        if self._is_set_up:
            return self._run(requests, arrays)
        limit = first_run(sum(array.size for array in arrays)) if self._device == "cpu" else nullcontext()
        with _first_calls, limit as allowed:
            outputs = self._run(requests, arrays, allowed)
            self._is_set_up = True
            return outputs

    def _run(
        self, requests: _Requests, arrays: Sequence[np.ndarray], allowed: int | None = None
    ) -> dict[str, np.ndarray]:
        with requests.borrow() as request:
            try:
                found = request.infer(arrays, share_inputs=True)
            except (RuntimeError, MemoryError) as error:
                raise _run_error(self._version, error, allowed) from error
            return {info.name: found[index] for index, info in enumerate(self._outputs)}

    def placement(self) -> Placement:
        """Layers after OpenVINO's own fusions, and the precision at which they run."""
        return self._placement

    def close(self) -> None:
        self._requests = None

    def _read_placement(self, compiled: Any) -> Placement:
        layers = [_layer(operation) for operation in compiled.get_runtime_model().get_ops()]
        every = Counter(precision for kind, precision in layers if kind not in _NOT_WORK)
        heavy = Counter(precision for kind, precision in layers if kind in _HEAVY)
        return Placement(
            engine="openvino",
            version=self._version,
            device=self._device,
            providers={", ".join(compiled.get_property("EXECUTION_DEVICES")): every.total()},
            precision="+".join(name for name, _ in heavy.most_common()) or "fp32",
            precisions=dict(every.most_common()),
            rewrites=self._rewrites,
            saturates=self._saturating and "int8" in heavy,
            joins_signed=self._joining and "int8" in heavy,
        )


def _run_error(version: str, error: Exception, allowed: int | None) -> ModelError:
    if exhausted(error):
        return out_of_memory(f"OpenVINO {version}", allowed=allowed)
    return ModelError(
        f"OpenVINO {version} cannot run the model: {_reason(error)}",
        hint="The graph contradicts itself or these inputs; --runtime ort-cpu runs every model that "
        "deploykit exports.",
    )


def _layer(operation: Any) -> tuple[str, str]:
    """Kind and precision of a layer of the compiled graph."""
    facts = operation.get_rt_info()
    precision = str(facts["runtimePrecision"].astype(str))
    return str(facts["layerType"].astype(str)), _NAMES.get(precision, precision)


class _Requests:
    """Infer requests, made when they are first needed and lent to one thread at a time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []
        # One more than the device runs at once, so that a caller's copies overlap with the work of another.
        self._permits = threading.BoundedSemaphore(
            1 + compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        )

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        with self._permits:
            # Appending and popping are atomic; the one used last is lent first, its memory is warm.
            try:
                request = self._idle.pop()
            except IndexError:
                request = self._compiled.create_infer_request()
            try:
                yield request
            finally:
                self._idle.append(request)


def _place(device: OpenVinoDevice, gpu: int, found: Sequence[str]) -> str:
    """OpenVINO's name of a device. The first GPU of several is ``GPU.0``, an only one is ``GPU``.

    Raises:
        RuntimeUnavailableError: there is no GPU of this number.
    """
    if device != "gpu" or gpu == 0:
        return device.upper()
    if f"GPU.{gpu}" not in found:
        raise RuntimeUnavailableError(f"GPU {gpu} was asked for, OpenVINO finds {', '.join(found)} here.")
    return f"GPU.{gpu}"


def _configuration(device: OpenVinoDevice, options: EngineOptions) -> dict[str, Any]:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": options.goal.upper()}
    if device == "cpu":
        settings["INFERENCE_NUM_THREADS"] = options.threads or usable_cores()
        settings["CPU_RUNTIME_CACHE_CAPACITY"] = _KERNELS
    if options.precision == "model" and device != "npu":
        settings["EXECUTION_MODE_HINT"] = "ACCURACY"
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if options.cache is not None:
        settings["CACHE_DIR"] = str(trusted_folder(options.cache))
    return settings


def _refuse_lower_precision(placement: Placement) -> None:
    lower = {name: n for name, n in placement.precisions.items() if name in ("bf16", "fp16")}
    if lower:
        found = ", ".join(f"{count} layers in {name}" for name, count in lower.items())
        raise RuntimeUnavailableError(
            f"--strict wants the model's own precision, OpenVINO runs {found} on {placement.device}.",
            hint="Drop --strict to accept it.",
        )


def _reason(error: Exception) -> str:
    """OpenVINO reports where in its sources it noticed; the last line says what."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
