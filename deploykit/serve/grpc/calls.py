"""What all calls have in common: bytes in, bytes out, and errors as gRPC statuses."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from deploykit.protocol.errors import BadRequestError, RequestError, TooLargeError, grpc_status_of

__all__ = ["Context", "refusing", "status_of", "unary"]

log = logging.getLogger("deploykit.serve.grpc")

Context = grpc.aio.ServicerContext[bytes, bytes]
Request = TypeVar("Request")

_LARGEST_MESSAGE = 1 << 20
"""Bytes of a message without tensors."""

_LONGEST_TEXT = 2000
"""Characters of an error: a status travels in a header, whose size clients limit."""


def unary(
    parse: Callable[[bytes], Request],
    answer: Callable[[Request, Context], Awaitable[Message | bytes]],
    *,
    limit: int | None = _LARGEST_MESSAGE,
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """A handler that reads a message, answers it, and turns errors into statuses.

    Messages are parsed here and not by grpc, which reports unparsable bytes as an internal error.

    Args:
        parse, answer: The two steps.
        limit: The largest message in bytes; None: the server's limit.
    """

    async def handle(data: bytes, context: Context) -> bytes:
        try:
            _check_size(data, limit)
            response = await answer(parse(data), context)
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            failure = error
        else:
            return response if isinstance(response, bytes) else response.SerializeToString()
        return await _abort(context, failure)

    return grpc.unary_unary_rpc_method_handler(handle)


def refusing(reason: str) -> grpc.RpcMethodHandler[bytes, bytes]:
    """A handler for a call that this server does not implement, which says why."""

    async def handle(_data: bytes, context: Context) -> bytes:
        return await context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return grpc.unary_unary_rpc_method_handler(handle)


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status of an error and the text for the client; a bug is logged."""
    if isinstance(error, DecodeError):
        error = BadRequestError("The bytes are not a message of this call.")
    code, text = grpc_status_of(error)
    if code == grpc.StatusCode.INTERNAL:
        log.error("A call failed.", exc_info=error)
    return code, text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} ..."


def _check_size(data: bytes, limit: int | None) -> None:
    if limit is not None and len(data) > limit:
        raise TooLargeError(f"This call takes at most {limit} bytes, found {len(data)}.")


async def _abort(context: Context, error: Exception) -> NoReturn:
    retry_after = error.retry_after if isinstance(error, RequestError) else None
    # What clients with a retry policy read: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    pushback = () if retry_after is None else (("grpc-retry-pushback-ms", str(1000 * retry_after)),)
    await context.abort(*status_of(error), trailing_metadata=pushback)
