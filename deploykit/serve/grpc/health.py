"""``grpc.health.v1.Health``, which orchestrators and load balancers query.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

import grpc
from grpc_health.v1 import health_pb2

__all__ = ["Health"]

Context = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]

_POLL_S = 0.25

_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Answers from the server's state at the time of the call.

    Args:
        services: Whether each service can be used now; ``""`` is the whole server.
        stopping: Set when the server begins to stop; ends the watches.
    """

    def __init__(self, services: Callable[[], Mapping[str, bool]], stopping: asyncio.Event) -> None:
        self._services = services
        self._stopping = stopping

    async def Check(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """The status now; NOT_FOUND for an unknown service."""
        status = self._statuses().get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service.")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(  # noqa: N802 - gRPC's name
        self, _request: health_pb2.HealthListRequest, _context: Context
    ) -> health_pb2.HealthListResponse:
        """The status of every service."""
        return health_pb2.HealthListResponse(
            statuses={
                name: health_pb2.HealthCheckResponse(status=status)
                for name, status in self._statuses().items()
            }
        )

    async def Watch(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, _context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status now and at each change, until the server stops."""
        sent = None
        while True:
            # Asked before the status: the server may begin to stop while an answer is on its way.
            last = self._stopping.is_set()
            status = self._statuses().get(request.service, _UNKNOWN)
            if status != sent:
                yield health_pb2.HealthCheckResponse(status=status)
                sent = status
            if last:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _POLL_S)

    def _statuses(self) -> dict[str, int]:
        up = not self._stopping.is_set()
        return {name: _SERVING if ready and up else _NOT_SERVING for name, ready in self._services().items()}
