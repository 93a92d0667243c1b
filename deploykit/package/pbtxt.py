"""Protocol buffer text format, as Triton reads its model configurations.

The language is https://protobuf.dev/reference/protobuf/textformat-spec/. Only writing is needed, so
that packaging needs no protobuf.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

__all__ = ["Constant", "Field", "Message", "to_pbtxt"]


class Constant(str):
    """The name of an enum value, written without quotes."""

    __slots__ = ()


Scalar: TypeAlias = "str | bool | int"
Field: TypeAlias = "tuple[str, Scalar | tuple[int, ...] | Message]"
Message: TypeAlias = "Sequence[Field]"
"""A list of fields in their order; a name that comes again is a repeated field. A tuple holds numbers."""


def to_pbtxt(message: Message) -> str:
    """The text of a message.

    >>> to_pbtxt([("name", "cat"), ("dims", (3, -1)), ("kind", Constant("KIND_CPU"))])
    'name: "cat"\\ndims: [3, -1]\\nkind: KIND_CPU\\n'
    """
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Message, indent: str = "") -> Iterable[str]:
    for name, value in message:
        if isinstance(value, list):
            yield f"{indent}{name} {{"
            yield from _lines(value, indent + "  ")
            yield f"{indent}}}"
        elif isinstance(value, tuple):
            yield f"{indent}{name}: [{', '.join(map(str, value))}]"
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, Constant):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """UTF-8 in double quotes; everything that is not printable ASCII is written as three octal digits."""
    escaped = (
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
        for byte in text.encode("utf-8")
    )
    return f'"{"".join(escaped)}"'
