"""What can be found wrong with a request before torch is loaded, which takes seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from deploykit_runtimes.contract.axes import AXES
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.targets import check_target, is_stream
from deploykit_runtimes.text.described import described

from deploykit_exporters.containers.read import check_file
from deploykit_exporters.golden.file import read_golden
from deploykit_exporters.options import ExportOptions, hints_of
from deploykit_exporters.sources.download import LIBRARIES, is_model_name
from deploykit_exporters.sources.in_memory import Source, is_in_memory, source_name

__all__ = ["check_source", "output_path", "precheck"]

_ENDINGS = (".pth.tar", ".safetensors", ".weights.h5", ".ckpt", ".hdf5", ".pth", ".bin", ".tar", ".pt", ".h5")


def precheck(checkpoint: object, options: ExportOptions, *, writes: bool = True) -> None:
    """Refuse a request that cannot be met whatever the weights are.

    Args:
        checkpoint: What was given as one.
        options: The options; the files that they name are read, calibration pictures aside.
        writes: A model is going to be written.

    Raises:
        CheckpointError: the checkpoint does not exist, or is something else by its first bytes.
        OptionError: an option or a file that it names cannot be used.
    """
    check_source(checkpoint)
    hints_of(options)
    if options.golden is not None:
        read_golden(options.golden)
    if writes:
        output_path(checkpoint, options)


def check_source(source: object) -> None:
    """Refuse what can be no checkpoint.

    Raises:
        OptionError: it is neither a path, nor the name of a downloadable model, nor a module or weights.
        CheckpointError: the file does not exist, or is something else by its first bytes.
    """
    if is_in_memory(source):
        return
    if not isinstance(source, str | Path) or not str(source):
        raise OptionError(
            f"Wanted a checkpoint as a path, a name or a module, found {described(source)}.",
            hint='For instance "best.pt" or "timm:vit_base_patch16_224".',
        )
    name = str(source)
    if is_model_name(name):
        return
    if not Path(name).expanduser().exists():
        _refuse_unknown_library(name)
    check_file(Path(name))


def _refuse_unknown_library(name: str) -> None:
    prefix = re.match(r"(\w[\w-]+):(?![\\/])", name)
    if prefix is not None:
        known = " or ".join(f"{library}:NAME" for library in LIBRARIES)
        wrong = "" if prefix[1] in LIBRARIES else f": no models are fetched from {prefix[1]!r}"
        raise OptionError(
            f"{name} is neither an existing file nor a known model name{wrong}.",
            hint=f"Write {known}, or a path.",
        )
    if name in AXES:
        raise OptionError(
            f"{name!r} was taken as the checkpoint, and no file has that name.",
            hint=f"Name the checkpoint too: deploykit export CKPT --dynamic {name}",
        )


def output_path(checkpoint: Source, options: ExportOptions) -> Path:
    """The model file that an export writes: the one asked for, or one beside the checkpoint.

    Raises:
        OptionError: it cannot be written.
    """
    output = options.output or default_output(checkpoint)
    if output.is_dir():
        raise OptionError(
            f"-o wants a file to write, found the folder {output}.", hint=f"-o {output / 'model.onnx'}"
        )
    check_target(output, reads=_files_read(checkpoint, options))
    if output.suffix != ".onnx" and not is_stream(output):
        raise OptionError(f"-o wants a name that ends in .onnx, found {output.name}.")
    return output


def _files_read(checkpoint: Source, options: ExportOptions) -> list[Path]:
    """The checkpoint, or what lies in its folder, and the files that options name."""
    named = [options.config, options.labels, options.golden]
    if not is_in_memory(checkpoint):
        source = Path(str(checkpoint)).expanduser()
        named += source.iterdir() if source.is_dir() else [source]
    return [each for each in named if isinstance(each, Path)]


def default_output(checkpoint: Source) -> Path:
    """Beside a file or folder, under its own name; in the current folder for a model given by name, and for a
    module in memory, under the name of its class.

    Only the endings of checkpoints are taken off: what else follows a dot tells two models apart.
    """
    if is_in_memory(checkpoint):
        name = source_name(checkpoint).partition(" ")[0]
        return Path(f"{'model' if isinstance(checkpoint, Mapping) else name}.onnx")
    source = Path(str(checkpoint)).expanduser()
    if not source.exists():
        return Path(_without_ending(str(checkpoint).split(":")[-1]) + ".onnx")
    source = source.resolve()
    stem = source.name if source.is_dir() else _without_ending(source.name)
    return source.with_name(f"{stem}.onnx")


def _without_ending(name: str) -> str:
    ending = next((end for end in _ENDINGS if name.lower().endswith(end) and len(name) > len(end)), "")
    return name[: len(name) - len(ending)]
