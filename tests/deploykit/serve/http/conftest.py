"""A server that the tests of HTTP talk to over real sockets."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploykit import serve
from deploykit.serve.server import Server


class Client:
    """Sends one request on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
            )
            response = connection.getresponse()
            received = {name.lower(): text for name, text in response.getheaders()}
            return response.status, received, response.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, document: Any = None, **headers: str) -> tuple[int, Any]:
        body = None if document is None else json.dumps(document).encode()
        status, _, content = self(method, path, body, **headers)
        return status, json.loads(content)


@pytest.fixture(scope="module")
def server(classifier: Path) -> Iterator[Server]:
    """A server of the tiny model, with small limits."""
    with serve.running(
        f"tiny={classifier}", port=0, grpc_port=None, max_body_mb=2.0, max_pixels=10_000_000, poll_s=0.0
    ) as running:
        yield running


@pytest.fixture(scope="session")
def client_of() -> type[Client]:
    """Makes a client of a port."""
    return Client


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.state.port)
