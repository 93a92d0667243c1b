"""What a client gets: a status, headers and a body, also instead of an answer."""

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
    """What the client gets.

    Attributes:
        status: Of HTTP.
        body, content_type: What it reads.
        headers: Others than Content-Length and Content-Type.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON document."""
    return Response(status=status, body=json_bytes(value), headers=headers or {})


def failure(error: Exception, log: logging.Logger) -> Response:
    """What is answered instead of an answer: the status of the error's kind, and its text.

    Args:
        error: What a request led to.
        log: Where an error is logged that the client's request did not cause.
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
