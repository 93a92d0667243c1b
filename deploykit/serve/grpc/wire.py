"""ModelInfer messages to and from bytes, without copying the tensors.

protobuf copies every bytes field twice when parsing (into its arena, then into a Python object) and twice
when serialising. Tensors are nearly all of an inference message, so they are cut out of the bytes before
protobuf reads the rest, and appended to what it wrote.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError

from deploykit.protocol.errors import BadRequestError, TooLargeError
from deploykit.serve.grpc.inference_pb2 import ModelInferRequest, ModelInferResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["join_response", "join_stream_response", "split_request"]

_RAW_INPUT_CONTENTS = ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_RAW_OUTPUT_CONTENTS = ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
_INFER_RESPONSE = 2  # ModelStreamInferResponse.infer_response

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5

MAX_FIELDS = 1024
"""Most top-level fields of a request: protobuf needs up to fifty times the size of tiny ones."""

MAX_HEAD = 1 << 24
"""Most bytes of a request besides its raw tensors, for the same reason."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: ``data[start:stop]``, of which ``data[value:stop]`` is the value."""

    number: int
    kind: int
    start: int
    value: int
    stop: int

    @property
    def is_tensor(self) -> bool:
        return self.number == _RAW_INPUT_CONTENTS and self.kind == _LENGTH_DELIMITED


def split_request(data: bytes) -> tuple[ModelInferRequest, list[memoryview]]:
    """Read a ModelInferRequest.

    Returns:
        The message without ``raw_input_contents``, and these as views into ``data``.

    Raises:
        google.protobuf.message.DecodeError: the bytes are not a ModelInferRequest.
        BadRequestError: there are more fields than a request has.
        TooLargeError: there is too much data besides the raw tensors.
    """
    view, fields = memoryview(data), _fields(data)
    head = [view[f.start : f.stop] for f in fields if not f.is_tensor]
    if sum(map(len, head)) > MAX_HEAD:
        raise TooLargeError(
            f"A request has at most {MAX_HEAD} bytes beside its raw tensors.",
            hint="Send the inputs in raw_input_contents.",
        )
    return ModelInferRequest.FromString(b"".join(head)), [
        view[f.value : f.stop] for f in fields if f.is_tensor
    ]


def join_response(head: ModelInferResponse, tensors: Sequence[np.ndarray]) -> bytes:
    """The bytes of a ModelInferResponse whose ``raw_output_contents`` are the tensors.

    Args:
        head: Everything else.
        tensors: Little-endian arrays of any shape, in the order of ``head.outputs``.
    """
    return b"".join(_parts(head, tensors))


def join_stream_response(head: ModelInferResponse, tensors: Sequence[np.ndarray]) -> bytes:
    """As ``join_response``, wrapped in a ModelStreamInferResponse."""
    parts = _parts(head, tensors)
    return b"".join([_header(_INFER_RESPONSE, sum(map(len, parts))), *parts])


def _parts(head: ModelInferResponse, tensors: Sequence[np.ndarray]) -> list[bytes | memoryview]:
    parts: list[bytes | memoryview] = [head.SerializeToString()]
    for tensor in tensors:
        # A view of bytes cannot be cast from a shape with a zero in it.
        content = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data if tensor.size else b""
        parts += [_header(_RAW_OUTPUT_CONTENTS, len(content)), content]
    return parts


def _header(number: int, length: int) -> bytes:
    return bytes(_varint(number << 3 | _LENGTH_DELIMITED)) + bytes(_varint(length))


def _varint(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def _fields(data: bytes) -> list[_Field]:
    """The top-level fields of a message."""
    fields: list[_Field] = []
    position = 0
    while position < len(data):
        if len(fields) == MAX_FIELDS:
            raise BadRequestError(f"A request has at most {MAX_FIELDS} fields.")
        fields.append(_field(data, position))
        position = fields[-1].stop
    return fields


def _field(data: bytes, start: int) -> _Field:
    """The field that begins at ``start``."""
    tag, value = _read_varint(data, start)
    number, kind = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise DecodeError("There is no such field number.")
    if kind == _LENGTH_DELIMITED:
        length, value = _read_varint(data, value)
        stop = value + length
    elif kind == _VARINT:
        _, stop = _read_varint(data, value)
    elif kind in (_FIXED32, _FIXED64):
        stop = value + (4 if kind == _FIXED32 else 8)
    else:
        raise DecodeError("Groups are not read.")
    if stop > len(data):
        raise DecodeError("A field is cut off.")
    return _Field(number, kind, start, value, stop)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A varint and the position after it."""
    value = 0
    for shift, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, position + shift + 1
    raise DecodeError("A varint is cut off.")
