"""Ahead-of-time builds: a model file becomes an engine file that says what it is."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from deploykit_runtimes.build_options import BuildOptions, BuildReport, BuildResult
from deploykit_runtimes.errors import ModelError, RuntimeUnavailableError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.machine.nvidia import has_nvidia_driver, read_gpu
from deploykit_runtimes.onnx.file import OnnxFile, read_onnx
from deploykit_runtimes.onnx.model_files import copied_model, hash_model
from deploykit_runtimes.trt.bindings import Bindings, TrtRuntime, load_bindings
from deploykit_runtimes.trt.builder.compile import CompileJob, check_options, compile_plan
from deploykit_runtimes.trt.cuda import open_cuda
from deploykit_runtimes.trt.engine_file import EngineKey, Sidecar, difference, read_sidecar, write_engine
from deploykit_runtimes.trt.profiles import describe_profile, parse_profiles

__all__ = ["EngineJob", "build_ahead", "default_engine_path", "plan_job"]


@dataclass(frozen=True, kw_only=True)
class EngineJob:
    """An engine that could be built here.

    Attributes:
        model: The .onnx file.
        file: Its outside.
        key: All that the engine will depend on.
        options: What was asked for.
        bindings: The TensorRT that builds it.
    """

    model: Path
    file: OnnxFile
    key: EngineKey
    options: BuildOptions
    bindings: Bindings

    def compile(self, report: BuildReport) -> memoryview:
        """Build the plan; see ``compile_plan``."""
        needs_gpu = self.bindings.needs_gpu_to_build
        gpu = self.options.gpu
        job = CompileJob(
            model=self.model,
            profiles=self.key.profiles,
            options=self.options,
            prepare=(lambda: open_cuda(gpu).select()) if needs_gpu else (lambda: None),
        )
        return compile_plan(self.bindings, job, report)

    def write(self, plan: memoryview, path: Path) -> tuple[Path, Path]:
        """Write plan and sidecar; the model is named relative to them."""
        model = os.path.relpath(self.model.resolve(), path.resolve().parent)
        return write_engine(
            path, plan, Sidecar(key=self.key, model=Path(model).as_posix(), plan_sha256="", file=self.file)
        )


def default_engine_path(model: Path, runtime: str) -> Path:
    """``model.onnx`` for ``trt`` -> ``model.trt.engine``."""
    return model.with_name(f"{model.stem}.{runtime}.engine")


def plan_job(model: Path, runtime: TrtRuntime, options: BuildOptions) -> EngineJob:
    """Everything that can be refused, before work is done.

    Raises:
        ModelError: the file is not an ONNX model.
        OptionError: shapes or options that the model or this TensorRT does not take.
        DependencyError: TensorRT is not installed.
        RuntimeUnavailableError: the build needs a GPU that is not here.
    """
    file = read_onnx(model)
    if runtime == "trt" and not has_nvidia_driver():
        raise RuntimeUnavailableError(
            "TensorRT measures its kernels on the GPU that it builds for, and no NVIDIA driver is installed "
            "here (libcuda.so.1 is missing).",
            hint="Build on the machine with the GPU; for RTX GPUs, --runtime trt-rtx builds here.",
        )
    bindings = load_bindings(runtime, purpose="build engines")
    gpu = read_gpu(options.gpu) if bindings.needs_gpu_to_build else None
    check_options(bindings, options, has_gpu=gpu is not None or has_nvidia_driver())
    profiles = parse_profiles(options.shapes, file.spec(), file.inputs)
    key = EngineKey(
        onnx_sha256=hash_model(model),
        flavour=bindings.flavour,
        version=bindings.version,
        gpu=gpu.name if gpu else "",
        capabilities=(gpu.capability,) if gpu else options.compute_capabilities,
        profiles=profiles,
        precision=options.precision,
        compatibility=options.compatibility,
        version_compatible=options.version_compatible,
        strip_weights=options.strip_weights,
        optimization_level=options.optimization_level,
    )
    return EngineJob(model=model, file=file, key=key, options=options, bindings=bindings)


def build_ahead(model: Path, runtime: str, options: BuildOptions, report: BuildReport) -> BuildResult:
    """Build an engine file beside the model, at ``options.output``, or into that folder.

    A folder also gets the model, so that it can move as a whole. See ``build_engine`` for the errors.
    """
    with ExitStack() as copies:
        return _build(model, runtime, options, report, copies)


def _build(
    model: Path, runtime: str, options: BuildOptions, report: BuildReport, copies: ExitStack
) -> BuildResult:
    report.step("Looking at the model")
    job = plan_job(model, "trt-rtx" if runtime == "trt-rtx" else "trt", options)
    path, files = default_engine_path(model, runtime), tuple[Path, ...]()
    if options.output is not None:
        path = options.output
        if _is_folder(path):
            files = copies.enter_context(copied_model(model, path / model.name))
            job = replace(job, model=files[0])
            path = default_engine_path(path / model.name, runtime)
    reason = _why_build(path, job, force=options.force)
    result = BuildResult(
        runtime=runtime,
        path=path,
        built=path,
        files=(path, path.with_name(path.name + ".json"), *files),
        size_bytes=0,
        reason=reason,
        facts=_facts(job),
    )
    if reason == "fits":
        return replace(result, size_bytes=path.stat().st_size, reused=True, reason="")
    if reason:
        report.step(f"Building again: the engine that is there was built {reason}")
    report.step(f"Building the engine with {job.bindings.flavour} {job.bindings.version}")
    started = time.perf_counter()
    plan = job.compile(report)
    job.write(plan, path)
    return replace(result, size_bytes=plan.nbytes, seconds=time.perf_counter() - started)


def _why_build(path: Path, job: EngineJob, *, force: bool) -> str:
    """``fits`` where the engine that is there is the one wanted; else why not; empty where there is none."""
    if force or not path.is_file():
        return ""
    try:
        sidecar = read_sidecar(path)
    except ModelError:
        return "by an unknown tool: its description is damaged"
    if sidecar is None:
        return "by another tool, which left no description"
    if sha256_of(path) != sidecar.plan_sha256:
        return "and damaged since"
    return difference(sidecar.key, job.key) or "fits"


def _facts(job: EngineJob) -> dict[str, str]:
    key = job.key
    targets = ", ".join(key.capabilities) or "8.0 and later"
    precision = "of the file" if key.precision == "model" else "of the file, TF32 allowed"
    facts = {
        "engine": f"{key.flavour} {key.version}",
        "target": f"{key.gpu} (compute capability {targets})" if key.gpu else f"compute capability {targets}",
        "shapes": " or ".join(describe_profile(profile) for profile in key.profiles),
        "precision": precision,
    }
    if key.compatibility != "none":
        facts["compatible"] = f"with GPUs: {key.compatibility}"
    if key.version_compatible:
        facts["versions"] = f"{key.version} and later of {job.bindings.major}.x"
    if key.strip_weights:
        facts["weights"] = f"left out; put back from {job.model.name} when opened"
    return facts


def _is_folder(path: Path) -> bool:
    return path.is_dir() or not path.suffix
