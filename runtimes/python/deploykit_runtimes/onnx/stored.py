"""Tensors that are stored in an ONNX file: their shapes, and the bytes of those of 8 bits."""

from __future__ import annotations

import math
from typing import NamedTuple

from deploykit_runtimes.onnx.protobuf import Value, encode, encode_number, fields, numbers, text

__all__ = ["INT8", "UINT8", "Stored", "encode_stored", "read_stored"]

UINT8, INT8 = 2, 3
_DIMS, _TYPE, _INT32S, _NAME, _RAW, _PLACE = 1, 2, 5, 8, 9, 14


class Stored(NamedTuple):
    """A stored tensor.

    Attributes:
        place: Which field of its graph it is.
        encoded: The message.
        name, shape, dtype: Of the tensor; the type as a number of ONNX.
        raw: Its values as bytes, where they are stored so.
        listed: Its values as numbers, where they are stored so.
        beside: Whether another file holds them.
    """

    place: int
    encoded: memoryview
    name: str
    shape: tuple[int, ...]
    dtype: int
    raw: memoryview
    listed: tuple[Value, ...]
    beside: bool

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def bytes(self) -> bytes | memoryview:
        """The values of a tensor of int8 or uint8; empty where they are not all here."""
        if self.beside or self.dtype not in (INT8, UINT8):
            return b""
        found = self.raw or b"".join(map(_low_bytes, self.listed))
        return found if len(found) == self.size else b""


def _low_bytes(value: Value) -> bytes:
    """Of a repeated number."""
    if isinstance(value, memoryview) and (packed := bytes(value)).isascii():
        return packed  # each number is one byte
    return bytes(n & 0xFF for n in numbers(value))


def read_stored(place: int, encoded: memoryview) -> Stored:
    """An initializer that is the field ``place`` of its graph.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    name, dtype, raw, beside = "", 0, memoryview(b""), False
    shape: list[int] = []
    listed: list[Value] = []
    for number, value in fields(encoded):
        if number == _DIMS:
            shape.extend(numbers(value))
        elif number == _INT32S:
            listed.append(value)
        elif number == _NAME:
            name = text(value)
        elif isinstance(value, memoryview):
            raw = value if number == _RAW else raw
        elif number == _TYPE:
            dtype = value
        elif number == _PLACE:
            beside = value == 1
    return Stored(place, encoded, name, tuple(shape), dtype, raw, tuple(listed), beside)


def encode_stored(name: str, shape: tuple[int, ...], dtype: int, raw: bytes) -> bytes:
    """The message of a tensor of these values."""
    dims = b"".join(encode_number(_DIMS, n) for n in shape)
    return dims + encode_number(_TYPE, dtype) + encode(_NAME, name) + encode(_RAW, raw)
