"""ONNX files with what an execution provider compiled inside: EPContext nodes, written ahead of time.

ONNX Runtime's compile API (1.22 and later) lets a provider put each subgraph that it compiles into a node of
the type EPContext; the metadata stay. Such a file opens without compiling again
(https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html).
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploykit_runtimes.build_options import BuildOptions, BuildReport, BuildResult
from deploykit_runtimes.builds.caches import build_cache, build_key, difference, refuse_others
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DependencyError, ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.files import atomic_path, write_target
from deploykit_runtimes.onnx.file import read_onnx

__all__ = ["build_context", "build_tensorrt", "compile_context", "context_beside"]


def context_beside(model: Path, runtime: str) -> Path:
    """Where the compiled file of a model lies: ``model.ort-rtx.onnx`` beside ``model.onnx``."""
    return model.with_name(f"{model.stem}.{runtime}.onnx")


def build_context(model: Path, runtime: str, options: BuildOptions, report: BuildReport) -> BuildResult:
    """Compile a model into an ONNX file of its own, with a description beside it (``.json``).

    Raises:
        OptionError: an option that this runtime cannot follow, or another file than .onnx to write.
        DependencyError: onnxruntime or the provider's package is missing or too old.
        RuntimeUnavailableError: the device is not here, or its provider compiled nothing of the model.
        ModelError: what was compiled does not open.
    """
    from deploykit_runtimes.ort.rewrites import Rewritten, rewrite_for_openvino
    from deploykit_runtimes.ort.runner import provider_session

    refuse_others(options, runtime)
    target = options.output or context_beside(model, runtime)
    if target.suffix != ".onnx" or target.resolve() == model.resolve():
        raise OptionError(
            f"{runtime} wants another .onnx file to write, found {target}.",
            hint=f"For instance: -o {context_beside(model, runtime).name}",
        )
    key, sidecar = build_key(model, runtime, options), target.with_name(f"{target.name}.json")
    reason = difference(sidecar, key)
    if reason or options.force or not target.is_file():
        chosen = EngineOptions(precision=options.precision, gpu=options.gpu)
        ort, session_options = provider_session(model, runtime, chosen)
        report.step(f"Compiling for {runtime}")
        started = time.perf_counter()
        form = Rewritten()
        if runtime.startswith("ort-openvino"):
            form = rewrite_for_openvino(model, chosen, read_onnx(model))
        compile_context(ort, session_options, model, target, form.model)
        write_target(sidecar, json.dumps(key, indent=1, sort_keys=True))
        result = _result(runtime, target, sidecar)
        facts = {"engine": f"onnxruntime {ort.__version__} {runtime}"}
        return replace(result, seconds=time.perf_counter() - started, reason=reason, facts=facts)
    return replace(_result(runtime, target, sidecar), reused=True)


def build_tensorrt(model: Path, runtime: str, options: BuildOptions, report: BuildReport) -> BuildResult:
    """ONNX Runtime's TensorRT engines: in a cache, or for an output that is an .onnx file inside of that.

    Raises:
        DeploykitError: see ``build_cache`` and ``build_context``.
    """
    as_file = options.output is not None and options.output.suffix == ".onnx"
    return (build_context if as_file else build_cache)(model, runtime, options, report)


def compile_context(
    ort: Any, session_options: Any, model: Path, target: Path, content: bytes | None = None
) -> None:
    """Write ``target``: the model with everything that the session's provider can compile compiled inside.

    Args:
        ort: The module onnxruntime.
        session_options: With the provider that compiles.
        model: The .onnx file.
        target: The file to write.
        content: The model in the form that is compiled; None: the file as it is.

    Raises:
        DependencyError: onnxruntime is older than 1.22.
        RuntimeUnavailableError: the provider compiled nothing, or failed; ``target`` is as it was.
        ModelError: the file that came has no compiled part.
    """
    if not hasattr(ort, "ModelCompiler"):
        raise DependencyError(
            f"Compiling ahead of time needs onnxruntime 1.22 or later, found {ort.__version__}.",
            hint="Update it with: pip install --upgrade onnxruntime",
        )
    state = ort.capi.onnxruntime_pybind11_state
    with atomic_path(target) as draft:
        try:
            ort.ModelCompiler(
                session_options,
                str(model) if content is None else content,
                embed_compiled_data_into_model=True,
                flags=int(ort.OrtCompileApiFlags.ERROR_IF_NO_NODES_COMPILED),
            ).compile_to_file(str(draft))
        except (state.Fail, state.NotImplemented, state.RuntimeException, state.EPFail) as error:
            raise RuntimeUnavailableError(
                f"{model} could not be compiled: {str(error).strip().splitlines()[-1][:300]}",
                hint="`deploykit doctor` shows what this machine can run.",
            ) from error
        if not read_onnx(draft).compiled:
            raise ModelError(f"ONNX Runtime {ort.__version__} compiled {model} to a file without EPContext.")


def _result(runtime: str, target: Path, sidecar: Path) -> BuildResult:
    return BuildResult(
        runtime=runtime,
        path=target,
        built=target,
        files=(target, sidecar),
        size_bytes=target.stat().st_size,
    )
