"""An ONNX file as a graph in memory, or an error that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.text.printable import one_line

if TYPE_CHECKING:
    import onnx

__all__ = ["load_graph"]


def load_graph(path: Path) -> onnx.ModelProto:
    """Read a model with the weights that lie beside it. Limits are those of ``read_onnx``, which comes first.

    Raises:
        ModelError: it cannot be read, or names files that are missing, outside of its folder or too short.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(str(path))
    except (OSError, ValueError, RuntimeError, DecodeError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path} cannot be read: {one_line(error).rstrip('.')[:1000]}.",
            hint="The files with its weights belong beside it.",
        ) from error
