"""Engines by name."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from deploykit_runtimes.build_options import ENGINE_SUFFIXES
from deploykit_runtimes.builds.caches import with_cache_beside
from deploykit_runtimes.builds.model_folder import file_for_runtime
from deploykit_runtimes.contract.limits import ModelLimitError
from deploykit_runtimes.devices import chosen_runtime
from deploykit_runtimes.engine_options import EngineKeywords, EngineOptions
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.machine.engine_cache import default_cache
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_file import check_model_file
from deploykit_runtimes.onnx.model_files import check_files_beside
from deploykit_runtimes.onnx.precompiled import refuse_compiled
from deploykit_runtimes.options.arguments import refuse_unknown
from deploykit_runtimes.options.option import put_over
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.runtimes import Runtime, runtime_named
from deploykit_runtimes.selftest.cache_watch import CacheWatch

__all__ = ["open_runner"]


def open_runner(
    path: str | Path,
    *,
    runtime: str | None = None,
    device: str | int | None = None,
    options: EngineOptions | None = None,
    **settings: Unpack[EngineKeywords],
) -> Runner:
    """Load a model file into an engine.

    Args:
        path: The .onnx file, an engine file, or a folder that ``deploykit build`` wrote.
        runtime: One of ``available_runtimes()``. What is asked for runs, or an error says why not. None: what
            ``device`` means, or ``ort-cpu``.
        device: The same as torch, Ultralytics and ONNX Runtime call it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``,
            ``0``, ``"npu"``, ...
        options: All options in one; what is given beside them wins.
        settings: Any field of ``EngineOptions``, which explains them: ``threads``, ``strict``, ...

    Raises:
        OptionError: no such runtime, device or option, or a runtime that does not run what was compiled for
            another.
        ModelError, RuntimeUnavailableError, DependencyError: see the adapter.
        ParityError: an engine that was compiled into a cache at this moment fails a golden case of the model.
    """
    known = ("runtime", "device", "options", *EngineKeywords.__annotations__)
    refuse_unknown(settings, known, where="open_runner()")
    name, own = chosen_runtime(runtime, device, settings)
    row = runtime_named(name)
    options = put_over(options, EngineOptions, own)
    path = file_for_runtime(path, row.name)
    if path.suffix not in ENGINE_SUFFIXES:
        check_model_file(path)
        _check_compiled(path, row.name)
        options = with_cache_beside(options, path, row.name)
    watch = CacheWatch(_cache(row, options) if options.selftest else None)
    runner = row.load_opener()(path, options=options, **row.arguments)
    watch.test(runner)
    return runner


def _cache(row: Runtime, options: EngineOptions) -> Path | None:
    """The folder in which an engine keeps what it compiles; None: it keeps nothing, or tests that itself."""
    if row.engine_files:
        return None
    return options.cache or (default_cache() if row.name == "ort-trt" else None)


def _check_compiled(path: Path, runtime: str) -> None:
    try:
        file = read_onnx(path)
    except ModelLimitError:
        raise
    except ModelError:
        return  # not ONNX at all: the engine says so, in the same words as in C++
    check_files_beside(path, file)
    refuse_compiled(path, file, runtime)
