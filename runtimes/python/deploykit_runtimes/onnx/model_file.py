"""What a file given as a model is, recognised by its first bytes before an engine sees it."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.text.described import described

__all__ = ["check_model_file", "looks_like_onnx", "model_path"]

_HEAD = 64
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]")
"""The version of the format, then the next field of ModelProto."""

_CHECKPOINT = re.compile(rb"PK|\x80[\x02-\x05]|\x89HDF|.{8}\{", re.DOTALL)
"""A zip archive or pickle of torch.save, HDF5 of Keras, safetensors."""

_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF.{4}WEBP|BM.{4}\0\0\0\0|II\*\0|MM\0\*", re.DOTALL)


def looks_like_onnx(path: Path) -> bool:
    """Whether an existing file starts as ONNX models do."""
    return path.is_file() and _ONNX.match(_head(path)) is not None


def model_path(path: object) -> Path:
    """What was given as a model, as a path.

    Raises:
        OptionError: it is something else.
    """
    if isinstance(path, str | Path) and str(path):
        return Path(path)
    raise OptionError(
        f"A model is given by its path, found {described(path)}.",
        hint='For instance "model.onnx", which deploykit.export("best.pt", "model.onnx") writes.',
    )


def check_model_file(path: object) -> None:
    """Refuse a file whose first bytes are not those of a model, and say what to do with it instead.

    Raises:
        OptionError: it is not a path.
        ModelError: the file is missing, cannot be read, or is a folder, a checkpoint
            or an image.
    """
    path = model_path(path)
    export_it = f"Export it first: deploykit export {path}"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"{path} does not exist.", hint="Write a model with: deploykit export CHECKPOINT"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        raise ModelError(
            f"{path} is a folder, wanted a model file.", hint=f"If it is a checkpoint: {export_it}"
        )
    if not stat.S_ISREG(mode):
        raise ModelError(f"{path} is a pipe, socket or device, wanted a model file.")
    head = _head(path)
    if not head:
        raise ModelError(f"{path} is not a valid ONNX model: it is empty.", hint="Fetch or export it again.")
    if _CHECKPOINT.match(head):
        raise ModelError(f"{path} is a checkpoint, wanted a model.", hint=export_it)
    if _IMAGE.match(head):
        raise ModelError(
            f"{path} is an image, wanted a model.", hint="Give the model first, images after it."
        )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
