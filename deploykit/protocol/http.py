"""The HTTP side of a request: headers by name, the query, a compressed body."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from urllib.parse import parse_qsl

from deploykit.protocol.errors import BadRequestError, MediaTypeError, TooLargeError

__all__ = ["CODINGS", "body_too_large", "headers_by_name", "inflated", "read_query"]

CODINGS = {"gzip": 31, "deflate": 15}
"""Compressions of a body and zlib's ``wbits`` for them; deflate is the zlib format (RFC 9110, 8.4.1)."""

_MAX_PARAMETERS = 32


def headers_by_name(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header values by lower-case name; repeated headers are joined with commas."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def read_query(query: bytes) -> dict[str, str]:
    """The parameters after the ``?``.

    Raises:
        BadRequestError: there are too many, one comes twice, or the query is malformed.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_MAX_PARAMETERS,
            errors="strict",
        )
    except ValueError as error:
        raise BadRequestError("The query is malformed.") from error
    if len(dict(pairs)) != len(pairs):
        raise BadRequestError("A parameter of the query comes twice.")
    return dict(pairs)


def inflated(body: bytes | memoryview, encoding: str, limit: int, *, hint: str = "") -> bytes | memoryview:
    """A body, decompressed.

    Args:
        body: The body as received.
        encoding: The header ``Content-Encoding``; ``identity`` means uncompressed.
        limit: The largest number of bytes to return.
        hint: How the limit is raised.

    Raises:
        MediaTypeError: the compression is unknown.
        BadRequestError: the bytes are not in this compression, or are truncated.
        TooLargeError: the decompressed body exceeds the limit.
    """
    if encoding == "identity":
        return body
    if encoding not in CODINGS:
        raise MediaTypeError(f"Bodies come plain, or as gzip or deflate, found {encoding[:32]!r}.")
    inflater = zlib.decompressobj(CODINGS[encoding])
    try:
        content = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequestError(f"The body is not valid {encoding}.") from error
    if len(content) > limit:
        raise body_too_large(limit, hint=hint)
    if not inflater.eof or inflater.unused_data:
        raise BadRequestError(f"The body is not complete {encoding}.")
    return content


def body_too_large(limit: int, *, hint: str = "") -> TooLargeError:
    """The error for a body above a limit in bytes, compressed or not."""
    return TooLargeError(f"A request has at most {limit} bytes here.", hint=hint)
