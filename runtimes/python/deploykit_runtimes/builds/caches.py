"""Caches filled ahead of time, for engines that keep what they compile in a folder of their own form.

``model.ov-cpu.cache`` beside ``model.onnx`` is what OpenVINO compiled for its CPU, ``model.ort-trt.cache``
the engines of ONNX Runtime's TensorRT provider. The engine itself checks that an entry fits; one that does
not is compiled again. ``key.json`` in the folder says what it was filled from and for.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from contextlib import nullcontext
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deploykit_runtimes.build_options import BuildOptions, BuildReport, BuildResult
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError, ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.files import atomic_folder, room_for
from deploykit_runtimes.machine.engine_cache import KEY_FILE
from deploykit_runtimes.machine.nvidia import has_nvidia_driver, read_gpu
from deploykit_runtimes.onnx.model_files import copied_model, files_of, hash_model, model_bytes
from deploykit_runtimes.runtimes import runtime_named

__all__ = [
    "build_cache",
    "build_key",
    "cache_beside",
    "difference",
    "refuse_others",
    "with_cache_beside",
]

_FOLLOWED = ("output", "precision", "gpu", "force", "selftest")
_PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "onnxruntime-ep-openvino", "tensorrt")


def cache_beside(model: Path, runtime: str) -> Path:
    """Where the cache of a model for a runtime lies: ``model.ov-cpu.cache`` beside ``model.onnx``."""
    return model.with_name(f"{model.stem}.{runtime}.cache")


def with_cache_beside(options: EngineOptions, model: Path, runtime: str) -> EngineOptions:
    """The options with the cache that was built for the model, where there is one and no other is named."""
    cache = cache_beside(model, runtime)
    if options.cache is None and (cache / KEY_FILE).is_file():
        return replace(options, cache=cache)
    return options


def build_cache(model: Path, runtime: str, options: BuildOptions, report: BuildReport) -> BuildResult:
    """Compile a model into a cache beside it, or with ``options.output`` into a folder with a copy of it.

    Raises:
        OptionError: an option that this runtime cannot follow, or a file where a folder belongs.
        ModelError, DependencyError, RuntimeUnavailableError: see ``open_runner``.
    """
    refuse_others(options, runtime)
    _refuse_file(options, runtime)
    key = build_key(model, runtime, options)
    place = model if options.output is None else options.output / model.name
    cache = cache_beside(place, runtime)
    reason = difference(cache / KEY_FILE, key)
    if not reason and not options.force and _is_model(place, key["model"]):
        return _result(runtime, place, cache, options, reused=True)
    started = time.perf_counter()
    with nullcontext() if options.output is None else copied_model(model, place):
        report.step(f"Compiling for {runtime}")
        facts = _fill(place, cache, key, runtime, options)
    seconds = time.perf_counter() - started
    return replace(_result(runtime, place, cache, options), seconds=seconds, facts=facts, reason=reason)


def _is_model(path: Path, digest: object) -> bool:
    """Whether the model with that hash is there, whole."""
    try:
        return path.is_file() and hash_model(path) == digest
    except ModelError:
        return False


def _fill(
    model: Path, cache: Path, key: dict[str, object], runtime: str, options: BuildOptions
) -> dict[str, str]:
    """Open the model once with an empty cache, and publish the cache in one step."""
    row = runtime_named(runtime)
    with atomic_folder(cache) as draft:
        draft.chmod(0o755)  # not for a group to write to, whatever the umask
        chosen = EngineOptions(cache=draft, precision=options.precision, gpu=options.gpu)
        with row.load_opener()(model, options=chosen, **row.arguments) as runner:
            placement = runner.placement()
        if not any(draft.iterdir()):
            _refuse_nothing(model, draft, runtime)
        (draft / KEY_FILE).write_text(json.dumps(key, indent=1, sort_keys=True), encoding="utf-8")
        _let_others_read(draft)
    return {"engine": f"{placement.engine} {placement.version}", "precision": placement.precision}


def _let_others_read(cache: Path) -> None:
    """Engines write into their caches for their own user, OpenVINO with mode 0440; servers run as another."""
    for path in cache.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _refuse_nothing(model: Path, cache: Path, runtime: str) -> None:
    """Say why an engine kept nothing; it says nothing itself where the disk is full.

    Raises:
        OSError: there is no room for it.
        RuntimeUnavailableError: there would have been.
    """
    wanted = model_bytes(model)
    if shutil.disk_usage(cache).free < 2 * wanted:
        with room_for(wanted):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise RuntimeUnavailableError(
        f"{runtime} compiled {model}, but stored nothing in a cache.",
        hint="`deploykit doctor` shows what this machine can run.",
    )


def refuse_others(options: BuildOptions, runtime: str) -> None:
    """Refuse what only engines of their own files follow, such as profiles.

    Raises:
        OptionError: names the option.
    """
    defaults = BuildOptions()
    for field in fields(BuildOptions):
        if field.name not in _FOLLOWED and getattr(options, field.name) != getattr(defaults, field.name):
            raise OptionError(
                f"{runtime} cannot follow {field.name}.",
                hint="It compiles for this machine, and for the range of shapes that the model declares.",
            )


def _refuse_file(options: BuildOptions, runtime: str) -> None:
    output = options.output
    if output is not None and (output.suffix == ".onnx" or (output.exists() and not output.is_dir())):
        raise OptionError(
            f"{runtime} wants a folder to write to, found {output}.", hint="For instance: -o built"
        )


def build_key(model: Path, runtime: str, options: BuildOptions) -> dict[str, object]:
    """Everything that what is built depends on, as JSON values."""
    return {
        "model": hash_model(model),
        "runtime": runtime,
        "precision": options.precision,
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "gpu": _gpu(options.gpu) if has_nvidia_driver() else "",
    }


def _gpu(index: int) -> str:
    try:
        return str(read_gpu(index))
    except DeploykitError:
        return ""  # a driver without a GPU; the runtime itself refuses where it needs one


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def difference(description: Path, key: dict[str, object]) -> str:
    """Why what is there does not fit, by the file with its key; empty where it does."""
    try:
        found = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "there is none"
    if not isinstance(found, dict):
        return "its description is damaged"
    changed = [name for name in key if found.get(name) != key[name]]
    return f"it was built for another {', '.join(changed)}" if changed else ""


def _result(
    runtime: str, model: Path, cache: Path, options: BuildOptions, *, reused: bool = False
) -> BuildResult:
    files = tuple(sorted(path for path in cache.rglob("*") if path.is_file()))
    model_files = () if options.output is None else files_of(model)
    return BuildResult(
        runtime=runtime,
        path=model if options.output is None else options.output,
        built=cache,
        files=(*files, *model_files),
        size_bytes=sum(path.stat().st_size for path in files),
        reused=reused,
    )
