"""Every gRPC call with its status, for the metrics and the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from inspect import isasyncgenfunction
from time import perf_counter
from typing import Any

import grpc

from deploykit.serve.state import ServerState

__all__ = ["Counting"]

log = logging.getLogger("deploykit.serve.grpc")


class Counting(grpc.aio.ServerInterceptor):
    """Reports every call when it ends; a stream is one call.

    It must be the first interceptor, so that it sees the calls that the others refuse.

    Args:
        state: The state whose ``answered`` is called.
    """

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of the call, counted."""
        handler = await continuation(handler_call_details)
        if handler is None:
            self._tell("none", "UNIMPLEMENTED", 0.0)
            return None
        route = str(handler_call_details.method).rpartition("/")[2]
        if handler.response_streaming:
            if handler.request_streaming:
                return grpc.stream_stream_rpc_method_handler(
                    self._counted(route, handler.stream_stream),
                    handler.request_deserializer,
                    handler.response_serializer,
                )
            return grpc.unary_stream_rpc_method_handler(
                self._counted(route, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._counted(route, handler.unary_unary),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _counted(self, route: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        async def call(request: Any, context: Any) -> Any:
            with self._count(route, context):
                return await answer(request, context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._count(route, context):
                async for response in answer(request, context):
                    yield response

        return stream if isasyncgenfunction(answer) else call

    @contextmanager
    def _count(self, route: str, context: Any) -> Iterator[None]:
        started = perf_counter()
        status = grpc.StatusCode.UNKNOWN
        try:
            yield
            status = context.code() or grpc.StatusCode.OK
        except asyncio.CancelledError:
            left = context.time_remaining()
            late = left is not None and left <= 0
            status = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            status = context.code()
            raise
        finally:
            self._tell(route, status.name, perf_counter() - started)

    def _tell(self, route: str, status: str, seconds: float) -> None:
        self._state.answered("grpc", route, status, seconds)
        if log.isEnabledFor(logging.DEBUG):
            ms = round(1e3 * seconds, 3)
            fields = {"fields": {"route": route, "status": status, "ms": ms}}
            log.debug("gRPC %s %s %s ms", route, status, ms, extra=fields)
