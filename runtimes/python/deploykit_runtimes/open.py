"""Engines by name."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.build_options import ENGINE_SUFFIXES
from deploykit_runtimes.builds.caches import with_cache_beside
from deploykit_runtimes.builds.model_folder import file_for_runtime
from deploykit_runtimes.contract.limits import ModelLimitError
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_file import check_model_file
from deploykit_runtimes.onnx.model_files import check_files_beside
from deploykit_runtimes.onnx.precompiled import refuse_compiled
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.runtimes import runtime_named

__all__ = ["open_runner"]


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
    row = runtime_named(runtime)
    path = file_for_runtime(path, row.name)
    options = options or EngineOptions(threads=threads, strict=strict)
    if path.suffix not in ENGINE_SUFFIXES:
        check_model_file(path)
        _check_compiled(path, row.name)
        options = with_cache_beside(options, path, row.name)
    return row.load_opener()(path, options=options, **row.arguments)


def _check_compiled(path: Path, runtime: str) -> None:
    try:
        file = read_onnx(path)
    except ModelLimitError:
        raise
    except ModelError:
        return  # what is no ONNX file at all is for the engine to say, in the same words as to C++
    check_files_beside(path, file)
    refuse_compiled(path, file, runtime)
