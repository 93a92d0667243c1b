"""A model, an engine or a folder of both -> runner; an engine that does not fit here is built again."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from deploykit_runtimes.build_options import ENGINE_SUFFIXES, BuildOptions, BuildReport
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError, ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.machine.nvidia import Gpu, has_nvidia_driver, read_gpu
from deploykit_runtimes.machine.trusted_folder import check_trusted_file, trusted_folder
from deploykit_runtimes.onnx.file import OnnxFile, read_onnx
from deploykit_runtimes.onnx.model_files import hash_model
from deploykit_runtimes.selftest.run import require_self_test
from deploykit_runtimes.trt.bindings import Bindings, TrtRuntime, load_bindings
from deploykit_runtimes.trt.builder.ahead import default_engine_path, plan_job
from deploykit_runtimes.trt.cuda import open_cuda
from deploykit_runtimes.trt.engine import Engine, load_engine
from deploykit_runtimes.trt.engine_file import (
    TURING,
    EngineKey,
    Sidecar,
    difference,
    read_sidecar,
    sidecar_path,
)
from deploykit_runtimes.trt.execution.runner import TrtRunner
from deploykit_runtimes.trt.jit import runtime_config
from deploykit_runtimes.trt.profiles import as_profile_texts
from deploykit_runtimes.trt.ultralytics import split_engine

__all__ = ["open_trt"]

_log = logging.getLogger("deploykit.tensorrt")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What was found: an engine, the model it is built from, or both."""

    engine: Path | None
    model: Path | None
    sidecar: Sidecar | None


@dataclass(frozen=True, kw_only=True)
class _Here:
    """This machine, and what is asked of it."""

    bindings: Bindings
    runtime: TrtRuntime
    gpu: Gpu
    options: EngineOptions
    report: BuildReport


def open_trt(
    path: str | Path,
    *,
    runtime: TrtRuntime = "trt",
    options: EngineOptions | None = None,
    report: BuildReport | None = None,
) -> TrtRunner:
    """Load a model or an engine into TensorRT.

    An .onnx file runs in the engine beside it (``deploykit build``) or in ``options.cache``; where none
    is there, one is built, and kept in the cache. An engine that was built for another version of the
    model, TensorRT, or GPU is built again with the options it was built with, and replaced.

    Args:
        path: An .onnx file, or an engine file.
        runtime: TensorRT, or TensorRT for RTX.
        options: See ``EngineOptions``. ``threads`` has no meaning on a GPU.
        report: Told what is built, and why.

    Raises:
        ModelError: the file is missing, damaged, or TensorRT cannot take the model.
        OptionError: the engine belongs to the other runtime.
        DependencyError: TensorRT or cuda-python is not installed.
        RuntimeUnavailableError: there is no driver or GPU, the engine does not fit and its model is
            not there, or ``options.strict`` is violated.
        ParityError: an engine that was built anew fails a golden case of the model.
    """
    options = options or EngineOptions()
    if options.cache is not None:
        options = replace(options, cache=trusted_folder(options.cache))
    source = _find(Path(path), runtime, options.cache)
    gpu = _require_gpu(runtime, options.gpu)
    here = _Here(
        bindings=load_bindings(runtime, purpose="run engines"),
        runtime=runtime,
        gpu=gpu,
        options=options,
        report=report or BuildReport(step=lambda text: _log.warning("%s", text)),
    )
    cuda = open_cuda(options.gpu)
    known = _known_engine(source, here)
    engine, file, key = known or _build(source, here)
    kernels = None if options.cache is None else options.cache / f"{key.onnx_sha256[:24]}.{runtime}.kernels"
    config, jit = runtime_config(engine, cuda_graph=options.cuda_graph, cache=kernels)
    runner = TrtRunner(
        engine,
        cuda,
        gpu=gpu,
        file=file,
        options=options,
        tf32=key.precision == "auto",
        config=config,
        jit=jit,
    )
    if known is None and options.selftest:
        _test_new(runner, source)
    return runner


def _test_new(runner: TrtRunner, source: _Source) -> None:
    """Run the golden cases of the model on an engine that nobody has run before.

    Raises:
        ParityError: one fails; the engine is not kept.
    """
    if not runner.spec.golden:
        return
    try:
        require_self_test(runner)
    except DeploykitError:
        runner.close()
        if source.engine is not None:
            for path in (source.engine, sidecar_path(source.engine)):
                path.unlink(missing_ok=True)
        raise


def _find(path: Path, runtime: TrtRuntime, cache: Path | None) -> _Source:
    if not path.is_file():
        raise ModelError(f"{path} is not a file.", hint="Write a model with: deploykit export CHECKPOINT")
    if path.suffix not in ENGINE_SUFFIXES:
        read_onnx(path)  # a checkpoint or damaged file is refused before anything else
        beside = default_engine_path(path, runtime)
        if cache is not None and not beside.is_file():
            beside = cache / f"{hash_model(path)[:24]}.{runtime}.engine"
        if beside.exists():
            check_trusted_file(beside)
        sidecar = _readable_sidecar(beside)
        keeps = beside if sidecar is not None or cache is not None else None
        return _Source(engine=keeps, model=path, sidecar=sidecar)
    sidecar = read_sidecar(path)
    if sidecar is not None and sidecar.key.flavour != _flavour(runtime):
        raise OptionError(
            f"{path} was built by {sidecar.key.flavour}.",
            hint=f"Open it with --runtime {'trt' if sidecar.key.flavour == 'tensorrt' else 'trt-rtx'}",
        )
    model = path.parent / sidecar.model if sidecar is not None else None
    return _Source(
        engine=path, model=model if model is not None and model.is_file() else None, sidecar=sidecar
    )


def _readable_sidecar(engine: Path) -> Sidecar | None:
    """The description of an engine; None where it is missing or damaged: the model is there to build from."""
    try:
        return read_sidecar(engine) if engine.is_file() else None
    except ModelError:
        return None


def _flavour(runtime: TrtRuntime) -> str:
    return "tensorrt-rtx" if runtime == "trt-rtx" else "tensorrt"


def _require_gpu(runtime: TrtRuntime, number: int) -> Gpu:
    if not has_nvidia_driver():
        raise RuntimeUnavailableError(
            f"{runtime} runs on an NVIDIA GPU, but no NVIDIA driver is installed (libcuda.so.1 is missing).",
            hint="Install the driver (in a container: --gpus all), or run the .onnx file with "
            "--runtime ort-cpu. `deploykit build --runtime trt-rtx` builds engines without a GPU.",
        )
    return read_gpu(number)


def _known_engine(source: _Source, here: _Here) -> tuple[Engine, OnnxFile, EngineKey] | None:
    """The engine that is there, where it fits; None: one is to be built."""
    if source.engine is not None and source.sidecar is not None:
        sidecar = source.sidecar
        reason = _why_not(source.engine, source.model, sidecar, here)
        if not reason:
            return _load(here.bindings, source.engine, source.model, sidecar), sidecar.file, sidecar.key
        if source.model is None:
            raise RuntimeUnavailableError(
                f"{source.engine} was built {reason}, and its model {sidecar.model} is not there to build "
                "it again.",
                hint=f"Put the model beside it, or build one: deploykit build MODEL --runtime {here.runtime}",
            )
        here.report.step(f"Building {source.engine.name} again: it was built {reason}")
    elif source.engine is not None and source.model is None:
        return _engine_without_sidecar(source.engine, here.bindings)
    else:
        here.report.step(f"Building an engine with {here.bindings.flavour} {here.bindings.version}")
    return None


def _why_not(engine: Path, model: Path | None, sidecar: Sidecar, here: _Here) -> str:
    """Why an engine cannot be used here, as the end of "it was built ..."; empty when it can."""
    key = sidecar.key
    wanted = replace(
        key,
        onnx_sha256=hash_model(model) if model is not None else key.onnx_sha256,
        flavour=here.bindings.flavour,
        version=here.bindings.version,
        gpu="" if here.bindings.is_rtx else here.gpu.name,
        capabilities=(here.gpu.capability,),
        # An engine with TF32 serves who accepts it; one without serves everybody.
        precision="model" if here.options.precision == "model" else key.precision,
    )
    reason = difference(key, wanted)
    if not reason and sha256_of(engine) != sidecar.plan_sha256:
        return "and damaged since"
    return reason


def _load(bindings: Bindings, engine: Path, model: Path | None, sidecar: Sidecar) -> Engine:
    weights = model if sidecar.key.strip_weights else None
    if sidecar.key.strip_weights and weights is None:
        raise RuntimeUnavailableError(
            f"{engine} holds no weights, and its model {sidecar.model} is not there to take them from.",
            hint="Put the model beside the engine.",
        )
    return load_engine(
        bindings,
        engine.read_bytes(),
        name=str(engine),
        version_compatible=sidecar.key.version_compatible,
        weights=weights,
    )


def _build(source: _Source, here: _Here) -> tuple[Engine, OnnxFile, EngineKey]:
    assert source.model is not None
    job = plan_job(source.model, here.runtime, _build_options(source.sidecar, here))
    plan = job.compile(here.report)
    if source.engine is not None:
        job.write(plan, source.engine)
    engine = load_engine(
        job.bindings,
        plan,
        name=str(source.engine or source.model),
        version_compatible=job.key.version_compatible,
        weights=source.model if job.key.strip_weights else None,
    )
    return engine, job.file, job.key


def _build_options(sidecar: Sidecar | None, here: _Here) -> BuildOptions:
    """What the engine was built with, for this machine."""
    options, key = here.options, sidecar.key if sidecar is not None else None
    targets = key.capabilities if key is not None and here.bindings.is_rtx else ()
    if here.bindings.is_rtx and (targets or here.gpu.capability == TURING):
        targets = tuple(dict.fromkeys((*targets, here.gpu.capability)))
    built = BuildOptions(gpu=options.gpu, precision=options.precision, compute_capabilities=targets)
    if key is None:
        return built
    return replace(
        built,
        shapes=as_profile_texts(key.profiles),
        compatibility=key.compatibility,  # type: ignore[arg-type]  # from a file
        version_compatible=key.version_compatible,
        strip_weights=key.strip_weights,
        optimization_level=key.optimization_level,
    )


def _engine_without_sidecar(path: Path, bindings: Bindings) -> tuple[Engine, OnnxFile, EngineKey]:
    """A plan without a sidecar, as trtexec and Ultralytics write it: what it takes is read from it."""
    metadata, plan = split_engine(path)
    engine = load_engine(bindings, plan, name=str(path))
    file = OnnxFile(
        metadata=metadata,
        inputs=tuple(tensor.info() for tensor in engine.inputs),
        outputs=tuple(tensor.info() for tensor in engine.outputs),
        weights={},
        nodes=0,
    )
    key = EngineKey(
        onnx_sha256=sha256_of(path),
        flavour=bindings.flavour,
        version=bindings.version,
        profiles=engine.profiles,
    )
    return engine, file, key
