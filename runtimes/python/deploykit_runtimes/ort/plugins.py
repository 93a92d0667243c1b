"""Plug-in execution providers of ONNX Runtime: engines that come as packages of their own.

A plug-in is a shared library that is registered with ONNX Runtime and then lists the devices that it
can drive; a session is opened for one of these (https://onnxruntime.ai/docs/execution-providers/
plugin-ep-libraries/). Nothing of onnxruntime itself is replaced, so the plain wheel is enough.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deploykit_runtimes.contract.spec import InputSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DependencyError, RuntimeUnavailableError
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.machine.elf import missing_libraries
from deploykit_runtimes.machine.trusted_folder import trusted_folder
from deploykit_runtimes.optional import require
from deploykit_runtimes.ort.options import profile_shapes

__all__ = ["PLUGINS", "Plugin", "register", "select_device"]


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plug-in package.

    Attributes:
        runtime: Name of its runtimes, before the device: ``ort-openvino-gpu``.
        module, package: What to import and to install.
        provider: Name of its execution provider.
        devices: Kinds of device that it drives, the usual one first.
        label: Key under which the plug-in names a device of its own accord; else ONNX Runtime's kind tells.
        needs: What must be there besides the package.
        configure: From the model's input and the options to the provider's options.
    """

    runtime: str
    module: str
    package: str
    provider: str
    devices: tuple[str, ...]
    needs: str
    configure: Callable[[str, InputSpec, EngineOptions], dict[str, str]]
    label: str = ""


def _openvino_options(device: str, _image: InputSpec, options: EngineOptions) -> dict[str, str]:
    settings = {"PERFORMANCE_HINT": options.goal.upper()}
    if device == "cpu":
        settings["INFERENCE_NUM_THREADS"] = str(options.threads or usable_cores())
    if options.precision == "model" and device != "npu":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if options.cache is not None:
        settings["CACHE_DIR"] = str(trusted_folder(options.cache))
    return {"load_config": json.dumps({device.upper(): settings})}


def _rtx_options(_device: str, image: InputSpec, options: EngineOptions) -> dict[str, str]:
    low, best, high = profile_shapes(image)
    chosen = {
        "nv_profile_min_shapes": low,
        "nv_profile_opt_shapes": best,
        "nv_profile_max_shapes": high,
        "enable_cuda_graph": "1" if options.cuda_graph else "0",
    }
    if options.cache is not None:
        chosen["nv_runtime_cache_path"] = str(trusted_folder(options.cache))
    return chosen


PLUGINS = {
    plugin.runtime: plugin
    for plugin in (
        Plugin(
            runtime="ort-openvino",
            module="onnxruntime_ep_openvino",
            package="onnxruntime-ep-openvino",
            provider="OpenVINOExecutionProvider",
            devices=("cpu", "gpu", "npu"),
            label="ov_device",
            needs="an Intel processor, GPU or NPU with its driver",
            configure=_openvino_options,
        ),
        Plugin(
            runtime="ort-rtx",
            module="onnxruntime_ep_nv_tensorrt_rtx",
            package="onnxruntime-ep-nv-tensorrt-rtx",
            provider="NvTensorRTRTXExecutionProvider",
            devices=("gpu",),
            needs="an NVIDIA RTX GPU (compute capability 8.6, 8.9, 12.0 or later) with its driver",
            configure=_rtx_options,
        ),
    )
}

_registered: set[str] = set()
_lock = threading.Lock()


def register(ort: Any, plugin: Plugin) -> None:
    """Make a plug-in known to ONNX Runtime; it stays so for the life of the process.

    Raises:
        DependencyError: its package is not installed, or onnxruntime is too old for plug-ins.
        RuntimeUnavailableError: its library cannot be loaded here; the message names what it lacks.
    """
    try:
        module = require(plugin.module, extra="cpu")
    except DependencyError as error:
        raise DependencyError(
            f"{plugin.runtime} is {plugin.package}, which is not installed.",
            hint=f"Install it with: pip install {plugin.package}",
        ) from error
    if not hasattr(ort, "register_execution_provider_library"):
        raise DependencyError(
            f"{plugin.runtime} needs onnxruntime 1.23 or later, found {ort.__version__}.",
            hint="Update it with: pip install --upgrade onnxruntime",
        )
    library = module.get_library_path()
    with _lock:
        if plugin.runtime in _registered:
            return
        try:
            ort.register_execution_provider_library(plugin.provider, library)
        except ort.capi.onnxruntime_pybind11_state.Fail as error:
            missing = ", ".join(missing_libraries(library))
            raise RuntimeUnavailableError(
                f"{plugin.runtime} cannot start: its library needs {missing}, not found."
                if missing
                else f"{plugin.runtime} cannot start: {str(error).strip().splitlines()[-1][:300]}",
                hint=f"It needs {plugin.needs}.",
            ) from error
        _registered.add(plugin.runtime)


def select_device(ort: Any, plugin: Plugin, kind: str, *, gpu: int = 0) -> Any:
    """The plug-in's device of a kind, of several GPUs the one of this number: an ``OrtEpDevice``.

    Raises:
        RuntimeUnavailableError: the plug-in lists none; the message says what it does list.
    """
    listed = _listed(ort, plugin)
    fitting = [device for device in listed if _kind(device, plugin) == kind]
    number = gpu if kind == "gpu" else 0
    if number < len(fitting):
        return fitting[number]
    if fitting:
        raise RuntimeUnavailableError(
            f"GPU {number} was asked for, {plugin.provider} lists {len(fitting)}, counted from 0."
        )
    found = ", ".join(_kind(device, plugin) for device in listed) or "no device"
    raise RuntimeUnavailableError(
        f"{plugin.runtime} was asked for on {kind}, {plugin.provider} lists {found} on this machine.",
        hint=f"It needs {plugin.needs}; ort-cpu runs here.",
    )


def _listed(ort: Any, plugin: Plugin) -> Sequence[Any]:
    return [device for device in ort.get_ep_devices() if device.ep_name == plugin.provider]


def _kind(device: Any, plugin: Plugin) -> str:
    named = dict(device.ep_metadata).get(plugin.label, "") if plugin.label else ""
    kind = str(named or device.device.type.name)
    return kind.partition(".")[0].lower()
