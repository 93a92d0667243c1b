"""Errors of requests, with the statuses that clients see.

RequestError
├── BadRequestError      400  INVALID_ARGUMENT     the request contradicts itself or the model
├── UnauthorizedError    401  UNAUTHENTICATED      the key is missing or wrong
├── ForbiddenError       403  PERMISSION_DENIED    a web page of another origin, or a name of another host
├── NotFoundError        404  NOT_FOUND            no such model, version or path
├── MethodError          405  UNIMPLEMENTED        the path takes other verbs
├── SlowBodyError        408  DEADLINE_EXCEEDED    the request's body did not arrive in time
├── TooLargeError        413  RESOURCE_EXHAUSTED   a body, tensor or picture beyond a limit
├── MediaTypeError       415  INVALID_ARGUMENT     a content type or encoding that is not read
├── UnsupportedError     501  UNIMPLEMENTED        a part of the protocol that this server leaves out
├── OverloadedError      503  UNAVAILABLE          the queue is full; come back after ``retry_after``
├── NotReadyError        503  UNAVAILABLE          the model is loading, or the server stopping
├── ReplicasLostError    503  UNAVAILABLE          several processes died while they had the request
└── RequestTimeoutError  504  DEADLINE_EXCEEDED    the answer did not arrive in time
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_runtimes.errors import (
    DeploykitError,
    InputError,
    ModelError,
    OptionError,
)
from deploykit_runtimes.text.printable import printable

if TYPE_CHECKING:
    import grpc

__all__ = [
    "BadRequestError",
    "ForbiddenError",
    "MediaTypeError",
    "MethodError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "ReplicasLostError",
    "RequestError",
    "RequestTimeoutError",
    "SlowBodyError",
    "TooLargeError",
    "UnauthorizedError",
    "UnsupportedError",
    "grpc_status_of",
    "status_of",
]

_LONGEST_TEXT = 2000
_BUG = "The server failed to answer; its log says why."


class RequestError(DeploykitError):
    """A request that cannot be answered.

    Attributes:
        status: The HTTP status.
        grpc_status: The name of the gRPC status.
        retry_after: Seconds after which a retry makes sense; None: a retry is useless.
    """

    status = 400
    grpc_status = "INVALID_ARGUMENT"
    retry_after: int | None = None


class BadRequestError(RequestError):
    """The request contradicts itself or the model."""


class UnauthorizedError(RequestError):
    """The key is missing or wrong."""

    status = 401
    grpc_status = "UNAUTHENTICATED"


class ForbiddenError(RequestError):
    """The request comes from a web page that may not use the server."""

    status = 403
    grpc_status = "PERMISSION_DENIED"


class NotFoundError(RequestError):
    """There is no such model, version or path."""

    status = 404
    grpc_status = "NOT_FOUND"


class MethodError(RequestError):
    """The path takes other verbs.

    Attributes:
        allowed: The verbs that it takes.
    """

    status = 405
    grpc_status = "UNIMPLEMENTED"

    def __init__(self, problem: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(problem)
        self.allowed = allowed


class SlowBodyError(RequestError):
    """The body of the request did not arrive in time. Its connection is closed."""

    status = 408
    grpc_status = "DEADLINE_EXCEEDED"


class TooLargeError(RequestError):
    """A body, tensor or picture is beyond a limit."""

    status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class MediaTypeError(RequestError):
    """A content type or encoding that is not read."""

    status = 415


class UnsupportedError(RequestError):
    """A part of the protocol that this server leaves out."""

    status = 501
    grpc_status = "UNIMPLEMENTED"


class OverloadedError(RequestError):
    """The queue is full."""

    status = 503
    grpc_status = "UNAVAILABLE"
    retry_after = 1


class NotReadyError(RequestError):
    """The model is loading or gone, or the server is stopping."""

    status = 503
    grpc_status = "UNAVAILABLE"
    retry_after = 1


class ReplicasLostError(RequestError):
    """Several processes died while handling the request, which may be the cause, so it must not be resent."""

    status = 503
    grpc_status = "UNAVAILABLE"


class RequestTimeoutError(RequestError):
    """The answer did not arrive in time."""

    status = 504
    grpc_status = "DEADLINE_EXCEEDED"


def status_of(error: BaseException) -> tuple[int, str]:
    """The HTTP status of an error and the text for the client, which reveals nothing about a bug."""
    if isinstance(error, RequestError):
        return error.status, _short(error)
    if isinstance(error, InputError | OptionError):
        return 400, _short(error)
    if isinstance(error, TimeoutError):
        return 504, "The request's time ran out before its answer."
    if isinstance(error, ModelError):
        return 500, _short(error)
    return 500, _BUG


def _short(error: DeploykitError) -> str:
    """The text of an error, shortened, since it may quote what a client sent."""
    return "\n".join(printable(line, _LONGEST_TEXT) for line in str(error).split("\n"))


def grpc_status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The gRPC status of an error and the text for the client, which reveals nothing about a bug."""
    import grpc

    status, text = status_of(error)
    if isinstance(error, RequestError):
        return grpc.StatusCode[error.grpc_status], text
    codes = {400: grpc.StatusCode.INVALID_ARGUMENT, 504: grpc.StatusCode.DEADLINE_EXCEEDED}
    return codes.get(status, grpc.StatusCode.INTERNAL), text
