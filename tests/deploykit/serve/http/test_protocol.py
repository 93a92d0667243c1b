"""Over the wire: bodies in pieces, requests in a row, offers of other protocols, heads that do not end."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes import load

from deploykit import serve
from deploykit.serve import server as server_module
from deploykit.serve.http.protocol import Body
from deploykit.serve.server import Server

ROWS = 16
"""Of 12 kB each: a request is larger than what is read at once."""


@pytest.fixture(scope="module")
def tensor() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, 3, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def wanted(classifier: Path, tensor: np.ndarray) -> np.ndarray:
    """What ONNX Runtime answers."""
    with load(classifier) as model:
        return next(iter(model.runner.infer({"images": tensor}).values()))


def infer(tensor: np.ndarray, *headers: str, path: str = "/v2/models/tiny/infer") -> bytes:
    entry = {"name": "images", "shape": list(tensor.shape), "datatype": "FP32"}
    entry["parameters"] = {"binary_data_size": tensor.nbytes}
    document = json.dumps({"inputs": [entry]}).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Inference-Header-Content-Length: {len(document)}",
        f"Content-Length: {len(document) + tensor.nbytes}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + document + tensor.tobytes()


class Wire:
    """A connection that answers are read from one by one."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()
        self.socket.close()

    def head(self) -> tuple[int, dict[str, str]]:
        line = self.file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers = {}
        while header := self.file.readline().strip():
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(line.split()[1]), headers

    def answer(self) -> tuple[int, bytes]:
        status, headers = self.head()
        return status, self.file.read(int(headers["content-length"]))

    def logits(self) -> np.ndarray:
        status, body = self.answer()
        assert status == 200, body
        (output,) = json.loads(body)["outputs"]
        return np.array(output["data"], np.float32).reshape(output["shape"])


@pytest.fixture
def wire(server: Server) -> Callable[[], Wire]:
    return lambda: Wire(server.state.port)


@pytest.mark.parametrize("piece", [700, 65_536, 100_000, 1 << 20])
def test_a_body_may_come_in_pieces(wire, tensor, wanted, piece) -> None:
    request = infer(tensor)
    with wire() as connection:
        for start in range(0, len(request), piece):
            connection.socket.sendall(request[start : start + piece])
            if start < 3 * piece:
                time.sleep(0.01)  # so that it cannot be read at once
        np.testing.assert_allclose(connection.logits(), wanted, atol=1e-5)


@pytest.mark.parametrize("rows", [1, ROWS])
def test_requests_in_a_row_are_answered_in_their_order(wire, tensor, wanted, rows) -> None:
    parts = [tensor[start : start + rows] for start in (0, ROWS - rows, 0)]
    with wire() as connection:
        connection.socket.sendall(b"".join(map(infer, parts)))
        for start in (0, ROWS - rows, 0):
            np.testing.assert_allclose(connection.logits(), wanted[start : start + rows], atol=1e-5)


@pytest.mark.parametrize("rows", [1, ROWS])
def test_an_offer_of_another_protocol_is_passed_over(wire, tensor, wanted, rows) -> None:
    offer = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk",
    )
    with wire() as connection:
        connection.socket.sendall(infer(tensor[:rows], *offer) + infer(tensor[:1]))
        np.testing.assert_allclose(connection.logits(), wanted[:rows], atol=1e-5)
        np.testing.assert_allclose(connection.logits(), wanted[:1], atol=1e-5)


def test_a_client_that_asks_first_is_told_to_go_on(wire, tensor, wanted) -> None:
    head, _, body = infer(tensor, "Expect: 100-continue").partition(b"\r\n\r\n")
    with wire() as connection:
        connection.socket.sendall(head + b"\r\n\r\n")
        assert connection.head()[0] == 100
        connection.socket.sendall(body)
        np.testing.assert_allclose(connection.logits(), wanted, atol=1e-5)


def test_a_refused_body_leaves_the_connection_in_order(wire, tensor, wanted) -> None:
    with wire() as connection:
        connection.socket.sendall(infer(tensor, path="/v2/models/none/infer") + infer(tensor))
        assert connection.answer()[0] == 404
        np.testing.assert_allclose(connection.logits(), wanted, atol=1e-5)


def test_a_client_that_leaves_amid_its_body_is_forgotten(wire, server, tensor) -> None:
    with wire() as connection:
        connection.socket.sendall(infer(tensor)[:-1])
    deadline = time.monotonic() + 300
    while server.repository.get("tiny").in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.repository.get("tiny").in_flight == 0


def test_a_head_without_end_is_refused(wire) -> None:
    with wire() as connection:
        connection.socket.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(100_000):
                connection.socket.sendall(b"X: " + b"x" * 1000 + b"\r\n")


def test_a_head_that_does_not_come_is_not_waited_for(
    classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_HEAD_TIMEOUT_S", 0.2)
    with serve.running(f"tiny={classifier}", port=0, grpc_port=None, poll_s=0.0) as running:
        for start in (b"", b"GET /v2 HT", b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v2 H"):
            with Wire(running.state.port) as connection:
                connection.socket.sendall(start)
                if start.count(b"\r\n\r\n"):
                    assert connection.answer()[0] == 200
                assert connection.file.read() == b""


@pytest.mark.parametrize("lead", [0, 1, 167, 100_000])
def test_the_first_tensor_of_a_body_is_aligned(lead: int) -> None:
    async def address() -> int:
        body = Body(200_000, lead)
        body.add(bytes(200_000))
        view = await body.whole(1.0)
        assert view is not None
        return int(np.frombuffer(view[lead:], np.uint8).__array_interface__["data"][0])

    assert asyncio.run(address()) % 64 == 0
