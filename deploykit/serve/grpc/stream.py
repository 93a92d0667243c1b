"""ModelStreamInfer: many requests and their answers over one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

from deploykit.serve.grpc.calls import Context

__all__ = ["Stream"]

_IN_FLIGHT = 64
"""Requests of one stream that may run at once; the transport holds back the client after these."""


class Stream:
    """Answers the requests of a stream in order; they run concurrently, so that they can share batches.

    Args:
        answer: Turns the bytes of a request into the bytes of its answer, which may be an error.
        stopping: Set when the server begins to stop: requests already read are answered, then the stream
            ends.
    """

    def __init__(self, answer: Callable[[bytes, Context], Awaitable[bytes]], stopping: asyncio.Event) -> None:
        self._answer = answer
        self._stopping = stopping

    def handler(self) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler that grpc calls for each stream."""
        return grpc.stream_stream_rpc_method_handler(self._handle)

    async def _handle(self, requests: AsyncIterator[bytes], context: Context) -> None:
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(_IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(requests, context, answers, group))
            while (answer := await answers.get()) is not None:
                await context.write(await answer)
        if self._stopping.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The server is stopping.")

    async def _read(
        self,
        requests: AsyncIterator[bytes],
        context: Context,
        answers: asyncio.Queue[asyncio.Task[bytes] | None],
        group: asyncio.TaskGroup,
    ) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while (data := await _first(stopping, requests)) is not None:
                await answers.put(group.create_task(self._answered(data, context)))
        finally:
            stopping.cancel()
        await answers.put(None)

    async def _answered(self, data: bytes, context: Context) -> bytes:
        return await self._answer(data, context)


async def _first(stopping: asyncio.Task[bool], requests: AsyncIterator[bytes]) -> bytes | None:
    """The next request; None if there is none, or if the server stops first."""
    reading = asyncio.create_task(_next(requests))
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await reading if reading.done() else None
    finally:
        reading.cancel()


async def _next(requests: AsyncIterator[bytes]) -> bytes | None:
    return await anext(requests, None)
