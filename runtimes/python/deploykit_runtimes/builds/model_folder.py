"""Engine files and the folders that ``deploykit build`` writes: which file a runtime opens."""

from __future__ import annotations

import glob
from pathlib import Path

from deploykit_runtimes.build_options import ENGINE_SUFFIXES
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.machine.engine_cache import KEY_FILE
from deploykit_runtimes.onnx.file import OnnxFile, read_onnx
from deploykit_runtimes.onnx.model_file import check_model_file, model_path
from deploykit_runtimes.onnx.model_files import check_files_beside
from deploykit_runtimes.runtimes import engine_file_runtimes

__all__ = ["built_with", "file_for_runtime", "is_model_folder", "model_file", "read_model"]

_OF_CHECKPOINTS = "config.json"  # of transformers and timm; some have an .onnx file beside their weights


def file_for_runtime(path: str | Path, runtime: str) -> Path:
    """The file that a runtime opens: in a folder, what was compiled for it, or else the model.

    Raises:
        ModelError: a folder holds nothing for the runtime, or several models.
        OptionError: an engine file was given to a runtime that reads ONNX files.
    """
    path = model_path(path)
    if path.is_dir():
        return _in_folder(path, runtime)
    if path.suffix in ENGINE_SUFFIXES and runtime not in engine_file_runtimes():
        raise OptionError(
            f"{path} is an engine, and {runtime} opens ONNX files.",
            hint=f"Open it with --runtime {' or '.join(engine_file_runtimes())}, as it was built.",
        )
    return path


def model_file(path: str | Path) -> Path:
    """The file that describes the model: in a built folder the .onnx file, or else an engine.

    Raises:
        ModelError: a folder holds no model, or several.
    """
    path = model_path(path)
    return _in_folder(path, "*") if path.is_dir() else path


def built_with(path: Path) -> tuple[Path, ...]:
    """What ``deploykit build`` compiled and lies with a model: engine files and folders of caches.

    Args:
        path: The model, or a folder, in which everything is looked for.
    """
    folder, stem = (path, "*") if path.is_dir() else (path.parent, glob.escape(path.stem))
    patterns = (*(f"{stem}.*{suffix}" for suffix in ENGINE_SUFFIXES), f"{stem}.ort-*.onnx", f"{stem}.*.cache")
    found = {file for pattern in patterns for file in folder.glob(pattern)}
    return tuple(sorted(file for file in found if file.suffix != ".cache" or (file / KEY_FILE).is_file()))


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds a model, compiled or not, and is not that of a checkpoint."""
    if not path.is_dir() or (path / _OF_CHECKPOINTS).is_file():
        return False
    is_cache = path.suffix == ".cache" and (path / KEY_FILE).is_file()
    return is_cache or bool(built_with(path)) or any(path.glob("*.onnx"))


def read_model(path: str | Path) -> OnnxFile:
    """What the model in a file or built folder takes, gives and says of itself, without opening an engine.

    Raises:
        ModelError: it is not a model, is damaged, or an engine that does not say what it takes.
    """
    path = model_file(path)
    if path.suffix not in ENGINE_SUFFIXES:
        check_model_file(path)
        file = read_onnx(path)
        check_files_beside(path, file)
        return file
    from deploykit_runtimes.trt.engine_file import read_sidecar
    from deploykit_runtimes.trt.ultralytics import described

    if not path.is_file():
        raise ModelError(f"{path} does not exist.", hint="Build it with: deploykit build MODEL")
    sidecar = read_sidecar(path)
    if sidecar is not None:
        return sidecar.file
    own = described(path)
    if own is None:
        raise ModelError(
            f"{path} has no description beside it ({path.name}.json).",
            hint="Build it with deploykit, or give the .onnx file.",
        )
    return own


def _model_of_cache(cache: Path) -> Path:
    """The model that a cache was filled from: ``model.onnx`` beside ``model.ov-cpu.cache``.

    Raises:
        ModelError: it is not there.
    """
    model = cache.absolute().with_name(f"{Path(cache.stem).stem}.onnx")
    if not model.is_file():
        raise ModelError(
            f"{cache} holds what was compiled from {model.name}, which is not beside it.",
            hint="Give the .onnx file, with the cache beside it.",
        )
    return cache.parent / model.name


def _in_folder(folder: Path, runtime: str) -> Path:
    if folder.suffix == ".cache" and (folder / KEY_FILE).is_file():
        return _model_of_cache(folder)
    own = (f"*.{runtime}.engine", f"*.{runtime}.onnx", "*.onnx")
    for pattern in own if runtime != "*" else ("*.onnx", "*.engine"):
        found = sorted(file for file in folder.glob(pattern) if pattern != "*.onnx" or not _compiled(file))
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise ModelError(f"{folder} holds several models: {names}.", hint="Name one of them.")
        if found:
            return found[0]
    raise ModelError(
        f"{folder} is a folder without a model for {runtime}.",
        hint=f"If it is a checkpoint, export it first: deploykit export {folder}",
    )


def _compiled(file: Path) -> bool:
    """Whether a file has the name of what ONNX Runtime compiled: ``model.ort-rtx.onnx``."""
    return Path(file.stem).suffix.startswith(".ort-")
