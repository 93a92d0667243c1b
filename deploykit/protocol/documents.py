"""JSON documents of requests and responses."""

from __future__ import annotations

from typing import Any

import orjson
from deploykit_runtimes.text.printable import printable_json

from deploykit.protocol.errors import BadRequestError

__all__ = ["json_bytes", "json_object", "json_value"]


def json_bytes(value: Any) -> bytes:
    """A JSON document with every character escaped that a terminal could interpret."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    if body.isascii() and b"\x7f" not in body:
        return body
    return printable_json(body.decode()).encode()


def json_value(text: bytes | memoryview) -> Any:
    """The value of a JSON body.

    Raises:
        BadRequestError: the body is not valid JSON.
    """
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BadRequestError(f"The body is not valid JSON: {error}.") from error


def json_object(text: bytes | memoryview) -> dict[str, Any]:
    """A body that is a JSON object.

    Raises:
        BadRequestError: the body is not a JSON object.
    """
    document = json_value(text)
    if not isinstance(document, dict):
        raise BadRequestError(f"The body wants a JSON object, found {type(document).__name__}.")
    return document
