"""A server with a real model, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deploykit.serve.options import ServeOptions
from deploykit.serve.server import Server

T = TypeVar("T")


class Running:
    """A running server, in whose event loop ``call`` and ``submit`` do work."""

    def __init__(self, models: dict[str, Path], **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = Server(models, ServeOptions(port=0, grpc_port=0, poll_s=0, instances=2, **options))
        self.call(self._server.start())
        self.repository = self._server.repository
        self.state = self._server.state
        self.url = self._server.grpc_address
        self.http_url = self._server.url.removeprefix("http://")

    def call(self, work: Awaitable[T]) -> T:
        return self.submit(work).result(300)

    def submit(self, work: Awaitable[T]) -> Future[T]:
        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    async def drain(self) -> None:
        await self._server.stop()

    def stop(self) -> None:
        self.call(self.drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(300)
        assert not self._thread.is_alive()
        self._loop.close()


@contextmanager
def serving(models: dict[str, Path], **options: Any) -> Iterator[Running]:
    server = Running(models, **options)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """A context manager that serves models with options."""
    return serving


@pytest.fixture(scope="module")
def server(classifier: Path) -> Iterator[Running]:
    """A server with the model ``vit`` and room for 2 MB."""
    with serving({"vit": classifier}, max_body_mb=2) as server:
        yield server
