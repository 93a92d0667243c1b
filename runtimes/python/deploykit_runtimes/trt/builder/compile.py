"""Network -> plan: the builder's configuration, its timing cache, and a build that can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit_runtimes.build_options import BuildOptions, BuildReport
from deploykit_runtimes.errors import ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.files import write_target
from deploykit_runtimes.trt.bindings import Bindings
from deploykit_runtimes.trt.builder.monitor import BuildProgress, make_monitor
from deploykit_runtimes.trt.builder.network import advice, parse_network
from deploykit_runtimes.trt.profiles import Profile

__all__ = ["CompileJob", "check_options", "compile_plan"]

_LEVELS = {"ampere+": "AMPERE_PLUS", "same-capability": "SAME_COMPUTE_CAPABILITY"}


@dataclass(frozen=True, kw_only=True)
class CompileJob:
    """One build.

    Attributes:
        model: The .onnx file.
        profiles: Shapes to build for.
        options: What is asked of the builder.
        prepare: Called on the builder's thread before it starts: selects the GPU there.
    """

    model: Path
    profiles: Sequence[Profile]
    options: BuildOptions
    prepare: Callable[[], None] = lambda: None


def check_options(bindings: Bindings, options: BuildOptions, *, has_gpu: bool) -> None:
    """Refuse what this TensorRT cannot build, before any work.

    Raises:
        OptionError: this flavour has no such option.
        RuntimeUnavailableError: the option needs a GPU while building, and there is none.
    """
    bindings.targets(options.compute_capabilities)
    if bindings.is_rtx and options.compatibility != "none":
        raise OptionError(
            "TensorRT for RTX builds for several GPUs by their compute capabilities, not by --compatibility.",
            hint="For instance --compute-capability 8.6,8.9; without it the engine runs on every RTX GPU.",
        )
    if bindings.is_rtx and options.version_compatible:
        raise OptionError(
            "TensorRT for RTX builds no version-compatible engines.",
            hint="Build again after an upgrade: an RTX engine takes seconds, and needs no GPU.",
        )
    if bindings.is_rtx and options.timing_cache is not None:
        raise OptionError(
            "TensorRT for RTX measures nothing while it builds, so there are no timings to cache.",
            hint="What it compiles on the GPU is cached when the engine runs.",
        )
    if options.strip_weights and not has_gpu:
        raise RuntimeUnavailableError(
            "Engines without their weights are built on a machine with an NVIDIA GPU and driver; "
            "there is none here.",
            hint="Build with the weights here, or with --strip-weights on a machine with a GPU.",
        )


def compile_plan(bindings: Bindings, job: CompileJob, report: BuildReport) -> memoryview:
    """Build a serialised engine.

    Ctrl-C stops the build at its next step: the builder works on a thread of its own, because an
    exception must not be raised inside its callbacks.

    Raises:
        ModelError: TensorRT cannot build the model; says why.
        RuntimeUnavailableError: the GPU's memory does not suffice.
    """
    progress = BuildProgress(report)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tensorrt-build") as pool:
        try:
            return pool.submit(_compile, bindings, job, progress).result()
        except BaseException:
            progress.cancelled = True
            raise


def _compile(bindings: Bindings, job: CompileJob, progress: BuildProgress) -> memoryview:
    job.prepare()
    builder = bindings.start(lambda: bindings.trt.Builder(bindings.logger))
    network, _parser = parse_network(bindings, builder, job.model)
    config = _configure(bindings, builder, job)
    config.progress_monitor = make_monitor(bindings.trt, progress)
    cache = _load_timings(config, job.options.timing_cache)
    bindings.messages.clear()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        _explain(bindings, job.model)
    if cache is not None and job.options.timing_cache is not None:
        write_target(job.options.timing_cache, memoryview(config.get_timing_cache().serialize()))
    return memoryview(plan)


def _configure(bindings: Bindings, builder: Any, job: CompileJob) -> Any:
    trt, options = bindings.trt, job.options
    flags = trt.BuilderFlag
    config = builder.create_builder_config()
    # Without details the inspector cannot tell which precision a layer runs at. Costs no speed.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.precision == "model":
        config.clear_flag(flags.TF32)
    if options.strip_weights:
        config.set_flag(flags.STRIP_PLAN)
    if options.version_compatible:
        config.set_flag(flags.VERSION_COMPATIBLE)
    if options.compatibility != "none":
        config.hardware_compatibility_level = getattr(
            trt.HardwareCompatibilityLevel, _LEVELS[options.compatibility]
        )
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    targets = bindings.targets(options.compute_capabilities)
    if targets:
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            config.set_compute_capability(target, index)
    for profile in job.profiles:
        config.add_optimization_profile(_optimization_profile(builder, profile))
    return config


def _optimization_profile(builder: Any, profile: Profile) -> Any:
    made = builder.create_optimization_profile()
    for name, shapes in profile.items():
        if shapes.opt:  # scalars have no shape to choose
            made.set_shape(name, shapes.min, shapes.opt, shapes.max)
    return made


def _load_timings(config: Any, path: Path | None) -> Any:
    """A timing cache, from the file where there is one that fits this TensorRT and GPU."""
    if path is None:
        return None
    known = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _explain(bindings: Bindings, model: Path) -> None:
    reason = bindings.messages.last_error()
    text = f"{bindings.flavour} {bindings.version} cannot build {model}: {reason}"
    if "memory" in reason.lower():
        raise RuntimeUnavailableError(text, hint=advice("out of memory"))
    raise ModelError(text, hint=advice(reason))
