"""One request to a server, within limits of time and size that the far side cannot stretch."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Answer", "TooLargeError", "exchange"]

_CHUNK = 1 << 20


class TooLargeError(Exception):
    """An answer has more bytes than it may have."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server sent: its status, body and headers."""

    status: int
    content: bytes
    headers: http.client.HTTPMessage


def exchange(
    verb: str,
    url: str,
    content: bytes | None,
    headers: Mapping[str, str],
    *,
    seconds: float,
    largest: int,
) -> Answer:
    """Ask once; redirects are not followed.

    Args:
        verb: ``GET`` or ``POST``.
        url: http or https, without user and password.
        content: The body of the request.
        headers: Its headers.
        seconds: Time for all of it: a server that sends a byte now and then gets no more.
        largest: Bytes of the answer.

    Raises:
        TimeoutError: the time is over.
        TooLargeError: the answer is larger.
        OSError, http.client.HTTPException, ValueError: the server cannot be reached, or does not speak HTTP.
    """
    parts = urlsplit(url)
    deadline = _Deadline(seconds)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, deadline)
    try:
        with deadline:
            connection.request(verb, parts._replace(scheme="", netloc="").geturl(), content, dict(headers))
            answer = connection.getresponse()
            found = _body(answer, largest)
            if deadline.passed:
                raise TimeoutError
            return Answer(status=answer.status, content=found, headers=answer.headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if deadline.passed:
            raise TimeoutError(f"no whole answer within {seconds:g} s") from error
        raise
    finally:
        connection.close()


def _body(answer: http.client.HTTPResponse, largest: int) -> bytes:
    found = bytearray()
    while part := answer.read(_CHUNK):
        found += part
        if len(found) > largest:
            raise TooLargeError
    if answer.length:
        raise http.client.IncompleteRead(bytes(found), answer.length)
    return bytes(found)


class _Deadline:
    """Ends a connection when the time is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        for connection in self._sockets:
            connection.close()

    def connected(self, connection: socket.socket) -> None:
        """Take a new connection, on which nothing is said yet."""
        # A copy: TLS takes the descriptor out of the socket. Both end the same connection.
        self._sockets.append(connection.dup())

    def _shut(self) -> None:
        self.passed = True
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _connection(scheme: str, host: str, port: int | None, deadline: _Deadline) -> http.client.HTTPConnection:
    class Watched(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            deadline.connected(self.sock)

    class WatchedTls(http.client.HTTPSConnection, Watched):
        """Watched from before its handshake: the parent calls ``Watched.connect``, then speaks TLS."""

    settings: dict[str, Any] = {"timeout": deadline.seconds}
    if scheme == "https":
        return WatchedTls(host, port, context=ssl.create_default_context(), **settings)
    return Watched(host, port, **settings)
