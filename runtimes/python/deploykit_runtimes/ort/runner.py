"""ONNX Runtime adapter: CPU, CUDA, TensorRT and plug-in execution providers, with proof of what ran."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deploykit_runtimes.contract.inferred_spec import read_spec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.machine.engine_cache import cache_folder, default_cache
from deploykit_runtimes.machine.memory_limit import first_run
from deploykit_runtimes.machine.nvidia import has_nvidia_driver
from deploykit_runtimes.machine.trusted_folder import locked
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_files import model_bytes, read_if_model, weights_beside
from deploykit_runtimes.optional import require
from deploykit_runtimes.ort.binding import BoundCalls
from deploykit_runtimes.ort.errors import failures, run_error
from deploykit_runtimes.ort.options import cuda_options, session_settings, tensorrt_options
from deploykit_runtimes.ort.plugins import PLUGINS, Plugin, register, select_device
from deploykit_runtimes.ort.ranking import CLASSES, RANKED, RANKING, SCORES, read_ranking
from deploykit_runtimes.ort.rewrites import APPEND_RANKING, Rewritten, rewrite, rewrite_for_openvino
from deploykit_runtimes.ort.session import (
    engine_key,
    nodes_per_provider,
    refuse_missing_libraries,
    refuse_other_provider,
    refuse_strays,
    require_provider,
    start_session,
    tensor_info,
    weights_in_memory,
    working_precision,
)
from deploykit_runtimes.runner import BaseRunner, BestClasses, Placement, check_feeds

__all__ = [
    "Device",
    "OrtRunner",
    "has_nvidia_driver",
    "open_ort",
    "open_ort_plugin",
    "provider_session",
]

Device = Literal["cpu", "cuda", "tensorrt"]

# Microsoft's own builds report what is run, and leave a file in the folder for temporary files.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def open_ort(
    path: str | Path,
    *,
    device: Device = "cpu",
    threads: int | None = None,
    strict: bool = False,
    options: EngineOptions | None = None,
) -> OrtRunner:
    """Load an ONNX file into ONNX Runtime.

    The TensorRT provider builds one engine for the whole declared range, which takes minutes, and keeps
    it below ``options.cache`` (the user's cache folder when None), under a key of everything it depends on.

    Args:
        path: The .onnx file.
        device: Where it must run. There is no fall-back to another device.
        threads, strict: Short for those of ``options``, which wins.
        options: See ``EngineOptions``.

    Raises:
        DependencyError: onnxruntime is not installed.
        ModelError: the file is missing, not an ONNX model, or its metadata is damaged.
        RuntimeUnavailableError: the requested provider cannot run here, or ``strict`` is violated.
    """
    options = options or EngineOptions(threads=threads, strict=strict)
    ort, wanted = _provider(device)
    if device == "cpu":
        return _open(ort, path, options, device=device, providers={wanted: {}})
    fallback = {"CUDAExecutionProvider": cuda_options(options), "CPUExecutionProvider": {}}
    if device == "cuda":
        return _open(ort, path, options, device=device, providers=fallback)
    image = read_onnx(path).spec(options.outputs).input
    with cache_folder(options.cache or default_cache(), engine_key(ort, path, image, options)) as cache:
        providers = {wanted: tensorrt_options(image, options, cache), **fallback}
        return _open(ort, path, options, device=device, providers=providers)


def open_ort_plugin(
    path: str | Path, *, plugin: str, device: str = "", options: EngineOptions | None = None
) -> OrtRunner:
    """Load an ONNX file into a plug-in execution provider of ONNX Runtime.

    Args:
        path: The .onnx file.
        plugin: A key of ``plugins.PLUGINS``, for instance ``ort-openvino``.
        device: Kind of device: ``cpu``, ``gpu`` or ``npu``; empty: the plug-in's usual one.
        options: See ``EngineOptions``.

    Raises:
        DependencyError: onnxruntime or the plug-in's package is not installed.
        ModelError: the file is missing, not an ONNX model, or its metadata is damaged.
        RuntimeUnavailableError: the plug-in has no such device here, or ``options.strict`` is violated.
    """
    options = options or EngineOptions()
    chosen = PLUGINS[plugin]
    kind = device or chosen.devices[0]
    ort, settings, add = _plugin_device(path, chosen, kind, options)
    return _open(ort, path, options, device=kind, providers={chosen.provider: settings}, add=add)


def provider_session(path: str | Path, runtime: str, options: EngineOptions) -> tuple[Any, Any]:
    """The module onnxruntime and ``SessionOptions`` with the provider of a runtime that compiles.

    Args:
        path: The .onnx file.
        runtime: ``ort-trt``, or a plug-in's name with or without its device.
        options: See ``EngineOptions``; no cache is kept.

    Raises:
        DependencyError, RuntimeUnavailableError, ModelError: as ``open_ort`` and ``open_ort_plugin``.
    """
    if runtime == "ort-trt":
        ort, wanted = _provider("tensorrt")
        session_options = _settings(ort, options)
        session_options.add_provider(
            wanted, tensorrt_options(read_onnx(path).spec(options.outputs).input, options, None)
        )
        return ort, session_options
    plugin = next(each for name, each in PLUGINS.items() if f"{runtime}-".startswith(f"{name}-"))
    kind = runtime.removeprefix(plugin.runtime).removeprefix("-") or plugin.devices[0]
    ort, _, add = _plugin_device(path, plugin, kind, options)
    session_options = _settings(ort, options)
    add(session_options)
    return ort, session_options


def _provider(device: Device) -> tuple[Any, str]:
    """The module, and the name of a provider of its own that can start here."""
    ort = require("onnxruntime", extra="gpu" if device != "cpu" else "cpu", purpose="run this model")
    wanted = _PROVIDERS[device]
    require_provider(ort, wanted, has_driver=device == "cpu" or has_nvidia_driver())
    if device != "cpu":
        refuse_missing_libraries(ort, device, wanted)
    return ort, wanted


def _plugin_device(
    path: str | Path, plugin: Plugin, kind: str, options: EngineOptions
) -> tuple[Any, dict[str, str], Callable[[Any], None]]:
    """The module, the settings of a plug-in for a device, and what adds both to ``SessionOptions``."""
    ort = require("onnxruntime", extra="cpu", purpose="run this model")
    register(ort, plugin)
    found = select_device(ort, plugin, kind, gpu=options.gpu)
    settings = plugin.configure(kind, read_onnx(path).spec(options.outputs).input, options)
    return ort, settings, lambda session_options: session_options.add_provider_for_devices([found], settings)


def _settings(ort: Any, options: EngineOptions) -> Any:
    session_options = ort.SessionOptions()
    session_settings(options).apply(session_options)
    return session_options


def _open(
    ort: Any,
    path: str | Path,
    options: EngineOptions,
    *,
    device: str,
    providers: Mapping[str, Mapping[str, str]],
    add: Callable[[Any], None] | None = None,
) -> OrtRunner:
    """Open a session on the first of ``providers`` and see that it is what runs."""
    wanted = next(iter(providers))
    session_options = _settings(ort, options)
    if add is not None:
        add(session_options)
    path = Path(path)
    file = read_if_model(path)  # None: for ONNX Runtime to refuse, in the same words as to C++
    form = Rewritten()
    if file and device == "cpu" and add is None:
        form = rewrite(path, options, file)
    elif file and wanted == PLUGINS["ort-openvino"].provider:
        form = rewrite_for_openvino(path, options, file)
    for key, value in form.settings.items():
        session_options.add_session_config_entry(key, value)
    inside = weights_beside(file) if file and options.detached else ()
    weights = weights_in_memory(session_options, path, inside)
    # The caches of plug-ins are theirs; TensorRT's are under a key of their own each.
    with weights, locked(options.cache if add is not None else None):
        session = start_session(
            ort,
            path,
            session_options,
            None if add else providers,
            device,
            nbytes=model_bytes(path, file),
            model=form.model,
        )
    refuse_other_provider(session, wanted)
    calls = None
    if options.cuda_graph and device in ("cuda", "tensorrt"):
        calls = BoundCalls(ort, session, device="cuda", index=options.gpu, record=True)
    file = file or read_onnx(path)
    precision = working_precision(file.weights, device, options)
    runner = OrtRunner(
        session,
        version=ort.__version__,
        device=device,
        precision=precision,
        calls=calls,
        declared=options.outputs,
        makers=file.makers,
        rewrites=form.names,
        settings=form.settings,
    )
    if options.strict:
        refuse_strays(runner.placement(), wanted)
    return runner


class OrtRunner(BaseRunner):
    """A model in an ONNX Runtime session. Keeps the ``Runner`` protocol.

    Args:
        session: The session.
        version: Of ONNX Runtime.
        device: Where it runs, for the placement.
        precision: What it computes in, for the placement.
        calls: Runs the session through bound buffers; None: through ``session.run``.
        declared: What the outputs mean; see ``EngineOptions.outputs``.
        makers: See ``OnnxFile``.
        rewrites: What was done to the file's graph; see ``Placement``.
        settings: What ONNX Runtime was asked for because of the file; see ``Placement``.
    """

    def __init__(
        self,
        session: Any,
        *,
        version: str,
        device: str,
        precision: str = "fp32",
        calls: BoundCalls | None = None,
        declared: str | None = None,
        makers: Mapping[str, str] | None = None,
        rewrites: tuple[str, ...] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._session: Any = session
        self._calls = calls
        self._failures = failures()
        self._fresh = device == "cpu"  # what a GPU's driver asks for is not memory of the process
        self._inputs = tuple(tensor_info(node) for node in session.get_inputs())
        outputs = tuple(tensor_info(node) for node in session.get_outputs())
        self._ranks = APPEND_RANKING in rewrites
        self._outputs = tuple(info for info in outputs if not (self._ranks and info.name in RANKING))
        self._names = [info.name for info in self._outputs]
        self._placement = Placement(
            engine="onnxruntime",
            version=version,
            device=device,
            providers=nodes_per_provider(session),
            precision=precision,
            rewrites=rewrites,
            settings=settings or {},
        )
        metadata = session.get_modelmeta().custom_metadata_map
        self._spec = read_spec(self._inputs, self._outputs, metadata, declared, makers)

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph once; see ``Runner.infer``."""
        return self._infer(feeds, self._names)

    def infer_best(
        self, feeds: Mapping[str, np.ndarray], top_k: int
    ) -> tuple[dict[str, np.ndarray], BestClasses | None]:
        """Run the graph once, with the nodes of ``ranking``; see ``Runner.infer_best``."""
        if not self._ranks or top_k != RANKED:
            return self.infer(feeds), None
        outputs = self._infer(feeds, [*self._names, *RANKING])
        return outputs, read_ranking(outputs.pop(SCORES), outputs.pop(CLASSES))

    def _infer(self, feeds: Mapping[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        session, calls = self._session, self._calls
        if session is None:
            raise InputError("The runner was closed.", hint="Open the model again with open_runner().")
        check_feeds(self._spec, self._inputs, feeds)
        try:
            if calls is not None:
                return calls.run(feeds)
            if self._fresh:
                return self._first(session, feeds, names)
            found = session.run(names, feeds if isinstance(feeds, dict) else dict(feeds))
        except self._failures as error:
            raise run_error(self._placement.version, error) from error
        return dict(zip(names, found, strict=True))

    def _first(
        self, session: Any, feeds: Mapping[str, np.ndarray], names: list[str]
    ) -> dict[str, np.ndarray]:
        """The first run, in which a graph takes most of what it ever takes."""
        self._fresh = False
        with first_run(sum(array.size for array in feeds.values())) as allowed:
            try:
                return dict(zip(names, session.run(names, dict(feeds)), strict=True))
            except self._failures as error:
                raise run_error(self._placement.version, error, allowed=allowed) from error

    def placement(self) -> Placement:
        """Nodes per execution provider, as ONNX Runtime assigned them."""
        return self._placement

    def close(self) -> None:
        self._session = self._calls = None
