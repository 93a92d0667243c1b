"""The weights of a model file, in a separate file.

They are copied from file to file without parsing: a message that once held them keeps their memory while
any part of it is in use.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from deploykit_runtimes.onnx.edit import INITIALIZER, edit_graph
from deploykit_runtimes.onnx.file import map_onnx
from deploykit_runtimes.onnx.protobuf import encode, encode_number, pieces
from deploykit_runtimes.onnx.stored import read_stored

if TYPE_CHECKING:
    import onnx

__all__ = ["WEIGHTS", "move_weights"]

WEIGHTS = "weights"
"""The name of the file, in the folder of the parts that refer to it."""

_INLINE = 1024
"""Bytes up to which a tensor stays in the graph, where shape inference and engines want to see it."""
_PAGE = 4096
"""Weights start at a page, so that engines can map them."""
_RAW, _BESIDE, _PLACE = 9, 13, 14  # fields of onnx.proto's TensorProto


def move_weights(path: Path, target: Path) -> onnx.ModelProto:
    """Read a model, and write its stored tensors above 1 KB to a separate file.

    Args:
        path: The .onnx file.
        target: The file to write, called ``WEIGHTS``.

    Returns:
        The model, whose large tensors refer to their bytes in ``target``.
    """
    import onnx

    with target.open("wb") as file:
        moved: set[str] = set()

        def without(graph: memoryview) -> bytes:
            return b"".join(
                _moved(place, value, file, moved) or piece
                if number == INITIALIZER and isinstance(value, memoryview)
                else piece
                for place, (number, value, piece) in enumerate(pieces(graph))
            )

        encoded = edit_graph(map_onnx(path), without)
        model = onnx.ModelProto.FromString(encoded or path.read_bytes())
        for tensor in model.graph.initializer:
            if tensor.name not in moved:
                _move(tensor, file, path.parent)
    return model


def _moved(place: int, encoded: memoryview, file: BinaryIO, moved: set[str]) -> bytes | None:
    """A graph field whose tensor now refers to its bytes in the file; None: the field is unchanged."""
    stored = read_stored(place, encoded)
    if len(stored.raw) <= _INLINE or stored.beside:
        return None
    moved.add(stored.name)
    said = b"".join(
        encode(_BESIDE, encode(1, key) + encode(2, value))
        for key, value in _written(stored.raw, file).items()
    )
    rest = (piece for number, _, piece in pieces(encoded) if number not in (_RAW, _PLACE))
    return encode(INITIALIZER, b"".join((*rest, said, encode_number(_PLACE, 1))))


def _move(tensor: onnx.TensorProto, file: BinaryIO, folder: Path) -> None:
    """The same for a tensor whose bytes are in a file next to the model, or that lists its numbers."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_type == TensorProto.STRING:
        return
    inline = tensor.data_location != TensorProto.EXTERNAL
    if inline and tensor.raw_data:
        return
    values = np.ascontiguousarray(numpy_helper.to_array(tensor, base_dir=str(folder)))
    plain = numpy_helper.from_array(values, tensor.name)
    if len(plain.raw_data) > _INLINE:
        entries = _written(plain.raw_data, file)
        plain = TensorProto(
            name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, data_location=TensorProto.EXTERNAL
        )
        for key, value in entries.items():
            plain.external_data.add(key=key, value=value)
    tensor.CopyFrom(plain)


def _written(raw: bytes | memoryview, file: BinaryIO) -> dict[str, str]:
    """Append bytes to a file, and return their location in ONNX's form."""
    file.write(b"\0" * (-file.tell() % _PAGE))
    entries = {"location": WEIGHTS, "offset": str(file.tell()), "length": str(len(raw))}
    file.write(raw)
    return entries
