"""Engines by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from deploykit_runtimes.compiled import check_files_beside, refuse_compiled
from deploykit_runtimes.engine_folder import ENGINE_SUFFIXES, file_for_runtime
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.limits import ModelLimitError
from deploykit_runtimes.model_file import check_model_file
from deploykit_runtimes.onnx_file import read_onnx
from deploykit_runtimes.prebuilt import with_cache_beside
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.runtime_names import SHORT, meant_runtime

__all__ = ["available_runtimes", "canonical_runtime", "open_runner"]

_Opener = Callable[[str | Path, EngineOptions], Runner]


def _ort(path: str | Path, options: EngineOptions, *, device: Any) -> Runner:
    from deploykit_runtimes.ort import open_ort

    return open_ort(path, device=device, options=options)


def _ort_plugin(path: str | Path, options: EngineOptions, *, plugin: str, device: str = "") -> Runner:
    from deploykit_runtimes.ort import open_ort_plugin

    return open_ort_plugin(path, plugin=plugin, device=device, options=options)


def _openvino(path: str | Path, options: EngineOptions, *, device: Any) -> Runner:
    from deploykit_runtimes.ov import open_openvino

    return open_openvino(path, device=device, options=options)


def _tensorrt(path: str | Path, options: EngineOptions, *, runtime: Any) -> Runner:
    from deploykit_runtimes.trt.open import open_trt

    return open_trt(path, runtime=runtime, options=options)


_OPENERS: dict[str, _Opener] = {
    "ort-cpu": partial(_ort, device="cpu"),
    "ort-cuda": partial(_ort, device="cuda"),
    "ort-trt": partial(_ort, device="tensorrt"),
    "ort-openvino-cpu": partial(_ort_plugin, plugin="ort-openvino", device="cpu"),
    "ort-openvino-gpu": partial(_ort_plugin, plugin="ort-openvino", device="gpu"),
    "ort-openvino-npu": partial(_ort_plugin, plugin="ort-openvino", device="npu"),
    "ort-rtx": partial(_ort_plugin, plugin="ort-rtx"),
    "trt": partial(_tensorrt, runtime="trt"),
    "trt-rtx": partial(_tensorrt, runtime="trt-rtx"),
    "ov-cpu": partial(_openvino, device="cpu"),
    "ov-gpu": partial(_openvino, device="gpu"),
    "ov-npu": partial(_openvino, device="npu"),
}


def available_runtimes() -> tuple[str, ...]:
    """The names ``open_runner`` takes; whether one runs here is told by ``deploykit doctor``."""
    return tuple(_OPENERS)


def canonical_runtime(name: str) -> str:
    """The full name of a runtime: ``ov`` is ``ov-cpu``.

    Raises:
        OptionError: no such runtime.
    """
    full = SHORT.get(name, name)
    if full not in _OPENERS:
        raise OptionError(
            f"Runtime {name!r} is not one of {', '.join(available_runtimes())}.",
            hint=meant_runtime(name, available_runtimes()),
        )
    return full


def open_runner(
    path: str | Path,
    *,
    runtime: str = "ort-cpu",
    threads: int | None = None,
    strict: bool = False,
    options: EngineOptions | None = None,
) -> Runner:
    """Load a model file into an engine.

    Args:
        path: The .onnx file, an engine file, or a folder that ``deploykit build`` wrote.
        runtime: One of ``available_runtimes()``. What is asked for runs, or an error says why not.
        threads: Threads inside one operator on the CPU; None uses every usable core.
        strict: Refuse a model of which a part would run elsewhere.
        options: These two and all others; None: only these two.

    Raises:
        OptionError: no such runtime, or one that does not run what was compiled for another.
        ModelError, RuntimeUnavailableError, DependencyError: see the adapter.
    """
    name = canonical_runtime(runtime)
    path = file_for_runtime(path, name)
    options = options or EngineOptions(threads=threads, strict=strict)
    if path.suffix not in ENGINE_SUFFIXES:
        check_model_file(path)
        _check_compiled(path, name)
        options = with_cache_beside(options, path, name)
    return _OPENERS[name](path, options)


def _check_compiled(path: Path, runtime: str) -> None:
    try:
        file = read_onnx(path)
    except ModelLimitError:
        raise
    except ModelError:
        return  # what is no ONNX file at all is for the engine to say, in the same words as to C++
    check_files_beside(path, file)
    refuse_compiled(path, file, runtime)
