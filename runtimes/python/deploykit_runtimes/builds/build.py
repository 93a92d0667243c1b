"""Ahead-of-time engines: one entry for every runtime that compiles before it runs."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.build_options import ENGINE_SUFFIXES, BuildOptions, BuildReport, BuildResult
from deploykit_runtimes.devices import chosen_runtime
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_file import check_model_file, model_path
from deploykit_runtimes.onnx.model_files import check_files_beside, files_of
from deploykit_runtimes.onnx.precompiled import compilers
from deploykit_runtimes.options.option import put_over
from deploykit_runtimes.runtimes import (
    broken_runtimes,
    buildable_runtimes,
    meant_runtime,
    runtime_named,
    short_names,
)
from deploykit_runtimes.targets import check_alone, check_target

__all__ = ["build_engine"]


def build_engine(
    model: str | Path,
    *,
    runtime: str | None = None,
    device: str | int | None = None,
    options: BuildOptions | None = None,
    report: BuildReport | None = None,
) -> BuildResult:
    """Compile a model ahead of time, into a file or folder that ``open_runner`` takes.

    Args:
        model: The .onnx file.
        runtime: One of ``buildable_runtimes()``; or None, and ``device`` says it.
        device: What to build for as torch, Ultralytics and ONNX Runtime call it: ``"npu"``, ``"intel:gpu"``;
            beside a runtime, the GPU to build on: ``"cuda:1"``.
        options: See ``BuildOptions``.
        report: Told how far the build is.

    Raises:
        OptionError: no such runtime, an option that it cannot follow, or an output that cannot be written.
        ModelError: the file is missing, or the engine cannot take the model; names the node.
        DependencyError: the engine is not installed.
        RuntimeUnavailableError: the build needs a GPU or driver that is not here.
    """
    given, own = chosen_runtime(runtime, device, {}, default="")
    if not given:
        raise OptionError(
            "A build wants the runtime to build for.", hint=f"One of {', '.join(buildable_runtimes())}."
        )
    runtime = short_names().get(given, given)
    if runtime in broken_runtimes():
        runtime_named(runtime)
    if runtime not in buildable_runtimes():
        raise OptionError(
            f"Engines are built for {', '.join(buildable_runtimes())}, found {given!r}.",
            hint=meant_runtime(given, buildable_runtimes()),
        )
    model = model_path(model)
    if not model.is_file():
        raise ModelError(f"{model} is not a file.", hint="Write a model with: deploykit export CHECKPOINT")
    _check_source(model)
    options = put_over(options, BuildOptions, own)
    _check_targets(model, options)
    return runtime_named(runtime).load_builder()(model, runtime, options, report or BuildReport())


def _check_targets(model: Path, options: BuildOptions) -> None:
    for path in (model, options.output or model):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise OptionError(
                f"Engines are built under names in UTF-8, found {path}.", hint="Rename it."
            ) from error
    reads = files_of(model)
    if options.output is not None and not options.output.is_dir():
        check_target(options.output, reads=reads)
        check_alone(options.output, needs="An engine is written with a file beside it, which describes it.")
    if options.timing_cache is not None:
        check_target(options.timing_cache, reads=reads)


def _check_source(model: Path) -> None:
    """Refuse what no engine can be built from, and a model whose files are not all there."""
    if model.suffix in ENGINE_SUFFIXES:
        raise ModelError(f"{model} is an engine already.", hint="Engines are built from the .onnx file.")
    check_model_file(model)
    file = read_onnx(model)
    check_files_beside(model, file)
    if file.compiled:
        raise ModelError(
            f"{model} was compiled already, by {compilers(file)}.",
            hint="Engines are built from the model that was compiled.",
        )
