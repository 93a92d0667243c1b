"""The watch of the health service, without a server around it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from grpc_health.v1 import health_pb2

from deploykit.serve.grpc.health import Health

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_the_end_is_told_also_when_it_begins_while_an_answer_is_on_its_way() -> None:
    async def statuses() -> list[int]:
        stopping = asyncio.Event()
        watch = Health(lambda: {"": True}, stopping).Watch(health_pb2.HealthCheckRequest(), cast("Any", None))
        first = await anext(watch)
        stopping.set()
        return [first.status, *[answer.status async for answer in watch]]

    assert asyncio.run(statuses()) == [SERVING, NOT_SERVING]


def test_a_change_is_told_once() -> None:
    async def statuses() -> list[int]:
        stopping, ready = asyncio.Event(), {"": True}
        watch = Health(lambda: ready, stopping).Watch(health_pb2.HealthCheckRequest(), cast("Any", None))
        first = await anext(watch)
        ready[""] = False
        second = await anext(watch)
        stopping.set()
        return [first.status, second.status, *[answer.status async for answer in watch]]

    assert asyncio.run(statuses()) == [SERVING, NOT_SERVING]
