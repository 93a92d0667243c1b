"""What a client receives, a failure included: a status, headers and a body."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploykit.protocol.documents import json_bytes
from deploykit.protocol.errors import MethodError, RequestError, SlowBodyError, status_of

__all__ = ["Response", "failure", "json_response"]


@dataclass(frozen=True, kw_only=True)
class Response:
    """What the client receives.

    Attributes:
        status: The HTTP status.
        body, content_type: The body and its type.
        headers: Headers other than Content-Length and Content-Type.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON document."""
    return Response(status=status, body=json_bytes(value), headers=headers or {})


def failure(error: Exception, log: logging.Logger) -> Response:
    """The response to a failed request: the status for the kind of error, and its text.

    Args:
        error: The error.
        log: Receives errors that the client's request did not cause.
    """
    status, text = status_of(error)
    if status >= 500 and not isinstance(error, RequestError | TimeoutError):
        log.error("A request failed.", exc_info=error)
    headers = {}
    if isinstance(error, RequestError) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, SlowBodyError):
        headers["Connection"] = "close"  # for the rest of the body may come yet
    if isinstance(error, MethodError):
        headers["Allow"] = ", ".join(error.allowed)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return json_response({"error": text}, status=status, headers=headers)
