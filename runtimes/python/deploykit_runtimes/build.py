"""Ahead-of-time engines: one entry for every runtime that compiles before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal

from deploykit_runtimes.compiled import check_files_beside, compilers
from deploykit_runtimes.engine_folder import ENGINE_SUFFIXES
from deploykit_runtimes.engine_options import Precision
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.model_file import check_model_file, model_path
from deploykit_runtimes.onnx_file import read_onnx
from deploykit_runtimes.runtime_names import SHORT, meant_runtime
from deploykit_runtimes.targets import check_alone, check_target

__all__ = [
    "BuildOptions",
    "BuildReport",
    "BuildResult",
    "Compatibility",
    "build_engine",
    "buildable_runtimes",
]

Compatibility = Literal["none", "ampere+", "same-capability"]

# The function of each runtime: (model, runtime, options, report) -> BuildResult.
_BUILDERS = {
    "trt": "deploykit_runtimes.trt.ahead:build_ahead",
    "trt-rtx": "deploykit_runtimes.trt.ahead:build_ahead",
    "ort-trt": "deploykit_runtimes.prebuilt:build_tensorrt",
    "ort-rtx": "deploykit_runtimes.ep_context:build_context",
    "ort-openvino-cpu": "deploykit_runtimes.ep_context:build_context",
    "ort-openvino-gpu": "deploykit_runtimes.ep_context:build_context",
    "ort-openvino-npu": "deploykit_runtimes.ep_context:build_context",
    "ov-cpu": "deploykit_runtimes.prebuilt:build_cache",
    "ov-gpu": "deploykit_runtimes.prebuilt:build_cache",
    "ov-npu": "deploykit_runtimes.prebuilt:build_cache",
}


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """Where a build tells how far it is.

    Attributes:
        step: Called with a sentence as each stage starts.
        note: Called often, with how far the current stage is.
    """

    step: Callable[[str], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What is built. A runtime that cannot follow an option refuses it.

    Attributes:
        output: File or folder to write; None: beside the model.
        shapes: Optimisation profiles as ``NAME:MIN,OPT,MAX`` with shapes such as ``1x3x224x224``; a
            name that comes again starts a further profile. Empty: from the ranges the model declares.
        precision: ``model``: the precision of the file, without TF32. ``auto``: TF32 allowed.
        gpu: Number of the GPU to build on, where the build needs one.
        compute_capabilities: Targets of a build without their GPU, such as ``8.6``; empty: 8.0 and later.
        compatibility: Which other GPUs the engine shall run on (hardware compatibility).
        version_compatible: The engine shall run on later versions of the same major version, too.
        strip_weights: Leave the weights out; they are put back from the model when the engine is opened.
        optimization_level: Effort of the search for the fastest kernels, 0 to 5; None: the engine's own.
        timing_cache: File with timings of kernels, read and updated: later builds are faster.
        force: Build also where an engine that fits is there already.
    """

    output: Path | None = None
    shapes: tuple[str, ...] = ()
    precision: Precision = "model"
    gpu: int = 0
    compute_capabilities: tuple[str, ...] = ()
    compatibility: Compatibility = "none"
    version_compatible: bool = False
    strip_weights: bool = False
    optimization_level: int | None = None
    timing_cache: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise OptionError(f"The optimisation level is 0 to 5, found {self.optimization_level}.")
        if self.compatibility not in ("none", "ampere+", "same-capability"):
            raise OptionError(
                f"The compatibility is none, ampere+ or same-capability, found {self.compatibility!r}."
            )


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """What was built.

    Attributes:
        runtime: For which runtime.
        path: The file or folder to give to ``open_runner``.
        built: What was compiled: an engine file, or the folder of a cache.
        files: Everything that was written.
        size_bytes: Of the engine.
        seconds: Time of the build; 0 where a fitting engine was there.
        reused: An engine that fits was there, and nothing was built.
        reason: Why an engine that was there did not fit.
        facts: What the engine is, for people: profile, target, precision, version.
    """

    runtime: str
    path: Path
    built: Path
    files: tuple[Path, ...]
    size_bytes: int
    seconds: float = 0.0
    reused: bool = False
    reason: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        return {
            "runtime": self.runtime,
            "path": str(self.path),
            "built": str(self.built),
            "files": [str(path) for path in self.files],
            "size_bytes": self.size_bytes,
            "seconds": self.seconds,
            "reused": self.reused,
            "reason": self.reason,
            "facts": dict(self.facts),
        }


def buildable_runtimes() -> tuple[str, ...]:
    """The names that ``build_engine`` takes."""
    return tuple(_BUILDERS)


def build_engine(
    model: str | Path,
    *,
    runtime: str,
    options: BuildOptions | None = None,
    report: BuildReport | None = None,
) -> BuildResult:
    """Compile a model ahead of time, into a file or folder that ``open_runner`` takes.

    Args:
        model: The .onnx file.
        runtime: One of ``buildable_runtimes()``.
        options: See ``BuildOptions``.
        report: Told how far the build is.

    Raises:
        OptionError: no such runtime, an option that it cannot follow, or an output that cannot be written.
        ModelError: the file is missing, or the engine cannot take the model; names the node.
        DependencyError: the engine is not installed.
        RuntimeUnavailableError: the build needs a GPU or driver that is not here.
    """
    given, runtime = runtime, SHORT.get(runtime, runtime)
    if runtime not in _BUILDERS:
        raise OptionError(
            f"Engines are built for {', '.join(_BUILDERS)}, found {given!r}.",
            hint=meant_runtime(given, tuple(_BUILDERS)),
        )
    model = model_path(model)
    if not model.is_file():
        raise ModelError(f"{model} is not a file.", hint="Write a model with: deploykit export CHECKPOINT")
    _check_source(model)
    options = options or BuildOptions()
    _check_targets(model, options)
    module, _, name = _BUILDERS[runtime].partition(":")
    build: Callable[[Path, str, BuildOptions, BuildReport], BuildResult] = getattr(
        import_module(module), name
    )
    return build(model, runtime, options, report or BuildReport())


def _check_targets(model: Path, options: BuildOptions) -> None:
    for path in (model, options.output or model):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise OptionError(
                f"Engines are built under names in UTF-8, found {path}.", hint="Rename it."
            ) from error
    if options.output is not None and not options.output.is_dir():
        check_alone(options.output, needs="An engine is written with a file beside it, which describes it.")
    if options.timing_cache is not None:
        check_target(options.timing_cache)


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
