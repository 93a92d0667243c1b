"""The bearer key of gRPC calls, which travels in the metadata ``authorization``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

__all__ = ["BearerKey"]

_OPEN = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    }
)
"""What orchestrators call, which hold no key."""


class BearerKey(grpc.aio.ServerInterceptor):
    """Refuses calls without the key as UNAUTHENTICATED, before reading their messages.

    Args:
        accepts: Whether a value of ``authorization`` holds a key, in constant time.
    """

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self._accepts = accepts

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of the call, or one of the same kind that refuses the call."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method in _OPEN:
            return handler
        metadata = handler_call_details.invocation_metadata or ()
        given = [value for name, value in metadata if name.lower() == "authorization"]
        if len(given) == 1 and isinstance(given[0], str) and self._accepts(given[0]):
            return handler
        return _refusal(handler)


def _refusal(handler: Any) -> Any:
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(_refuse)
    return grpc.unary_unary_rpc_method_handler(_refuse)


async def _refuse(_request: object, context: Any) -> Any:
    return await context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "The server wants its key: metadata `authorization: Bearer KEY`."
    )
