"""HTTP of a Ray Serve application: requests and responses in Ray's form."""

from __future__ import annotations

import starlette.requests
import starlette.responses

from deploykit.protocol.http import body_too_large
from deploykit.protocol.limits import MAX_BODY_MB
from deploykit.protocol.responses import Response

__all__ = ["MAX_BODY", "read_body", "to_starlette"]

MAX_BODY = int(MAX_BODY_MB * 1e6)
"""Bytes of a body, compressed or not."""


async def read_body(request: starlette.requests.Request) -> bytes:
    """The body as received; refused as soon as it exceeds ``MAX_BODY``.

    Raises:
        TooLargeError: the body is too large.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY:
        raise body_too_large(MAX_BODY)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise body_too_large(MAX_BODY)
        parts.append(part)
    return b"".join(parts)


def to_starlette(response: Response) -> starlette.responses.Response:
    """The response that Ray sends to the client."""
    headers = {"Content-Type": response.content_type, **response.headers}
    return starlette.responses.Response(response.body, response.status, headers)
