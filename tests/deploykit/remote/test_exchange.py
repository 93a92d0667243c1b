"""Servers that never end: every answer is bounded in time and size."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from deploykit_runtimes.errors import ModelError, RuntimeUnavailableError

from deploykit.remote import connection
from deploykit.remote.connection import Connection
from deploykit.remote.exchange import TooLargeError, exchange

HEAD = b"HTTP/1.1 200 OK\r\n"
Sending = Callable[[bytes, bytes], str]


@pytest.fixture
def sending() -> Iterator[Sending]:
    """A server that sends some bytes, then others again and again until nobody listens. Its address."""
    stop = threading.Event()
    listeners: list[socket.socket] = []

    def serve(listener: socket.socket, once: bytes, forever: bytes) -> None:
        while not stop.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(1 << 16)
                try:
                    client.sendall(once)
                    while forever and not stop.wait(0 if len(forever) > 9 else 0.02):
                        client.sendall(forever)
                except OSError:
                    continue

    def start(once: bytes, forever: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, once, forever), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    stop.set()
    for listener in listeners:
        listener.close()


def ask(url: str, seconds: float = 30.0) -> bytes:
    return exchange("GET", f"{url}/v2", None, {}, seconds=seconds, largest=1 << 20).content


@pytest.mark.parametrize(
    ("once", "forever"),
    [
        (b"", b"H"),
        (HEAD, b"a"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
        (HEAD + b"\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_server_gets_no_more_time(sending: Sending, once: bytes, forever: bytes) -> None:
    with pytest.raises(TimeoutError, match=r"no whole answer within 0\.5 s"):
        ask(sending(once, forever), 0.5)


def test_an_answer_without_end_is_cut(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    url = sending(HEAD + b"\r\n", b" " * 100_000)
    with pytest.raises(TooLargeError):
        ask(url)
    monkeypatch.setattr(connection, "_LARGEST_FACTS", 1 << 20)
    with pytest.raises(ModelError, match="more than 1 MiB"):
        Connection(url).server_info()


def test_json_of_an_answer_is_limited(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"outputs": []}' + b" " * 2000
    url = sending(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body), b"")
    monkeypatch.setattr(connection, "_LARGEST_JSON", 1000)
    with pytest.raises(ModelError, match="of JSON"):
        Connection(url).infer("m", {}, ["y"])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x1b]0;title\x07\r\n\r\n",
        HEAD + b"a: b\r\n" * 200 + b"\r\n",
        HEAD + b"a: " + b"x" * 70_000 + b"\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}",
        HEAD + b"Content-Length: 10\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    ],
)
def test_what_is_not_http_is_told(sending: Sending, answer: bytes) -> None:
    with pytest.raises(RuntimeUnavailableError, match="cannot be reached") as caught:
        Connection(sending(answer, b"")).server_info()
    assert caught.value.problem.isprintable()


@pytest.mark.parametrize("host", ["a" * 300, "a..b"])
def test_a_host_that_is_not_one_is_told(host: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match="cannot be reached"):
        Connection(f"http://{host}:80").server_info()
