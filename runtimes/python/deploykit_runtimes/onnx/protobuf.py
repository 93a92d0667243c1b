"""The encoding of protocol buffers, as far as ONNX files need it
(https://protobuf.dev/programming-guides/encoding/)."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Value", "encode", "encode_number", "fields", "numbers", "pieces", "text"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Value = int | memoryview


def numbers(value: Value) -> Iterator[int]:
    """A repeated number: one by one, or packed."""
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        number, position = _read_varint(value, position)
        yield number


def text(value: Value) -> str:
    """A text; empty where a number stands in its place.

    Raises:
        ValueError: it is not UTF-8.
    """
    try:
        return bytes(value).decode("utf-8") if isinstance(value, memoryview) else ""
    except UnicodeDecodeError as error:
        raise ValueError("a text in it is not UTF-8") from error


def fields(view: Value) -> Iterator[tuple[int, Value]]:
    """Field numbers and values of a message; nested messages, texts and bytes come as views.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    for number, value, _ in pieces(view):
        if value is not None:
            yield number, value


def pieces(view: Value) -> Iterator[tuple[int, Value | None, memoryview]]:
    """Field numbers, values and the bytes of each field; the value of one of fixed width is None.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    if not isinstance(view, memoryview):
        raise ValueError("a number is where a message belongs")  # noqa: TRY004 - the file is wrong
    position = 0
    while position < len(view):
        start = position
        key, position = _read_varint(view, position)
        number, wire = key >> 3, key & 7
        value: Value | None = None
        if wire == _VARINT:
            value, position = _read_varint(view, position)
        elif wire == _BYTES:
            length, position = _read_varint(view, position)
            if number == 0 or position + length > len(view):
                raise ValueError("it ends in the middle")
            value = view[position : position + length]
            position += length
        elif wire in (_FIXED32, _FIXED64):
            position += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("it is not encoded as one")
        yield number, value, view[start:position]


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("it is not encoded as one")


def encode(number: int, value: bytes | memoryview | str) -> bytes:
    """A field that holds a message, a text or bytes."""
    data = value.encode() if isinstance(value, str) else value
    return b"".join((_varint(number << 3 | _BYTES), _varint(len(data)), data))


def encode_number(number: int, value: int) -> bytes:
    """A field that holds a number, not negative."""
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
