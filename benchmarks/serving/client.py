"""A closed-loop HTTP client that costs the machine as little as it can: requests made once, raw sockets."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field

__all__ = ["Load", "closed_loop"]

_PATIENCE_S = 10.0


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        latencies: Of each answer, in seconds.
        seconds: From the first request to the last answer.
        errors: Answers of another status than 200.
    """

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    errors: int = 0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ranked = sorted(self.latencies)
        return 1e3 * ranked[min(len(ranked) - 1, int(share * len(ranked)))]


@dataclass
class _Connection:
    socket: socket.socket
    started: float = 0.0
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    wanted: int = -1


def closed_loop(port: int, request: bytes, *, clients: int, seconds: float, warmup: float = 0.0) -> Load:
    """Keep ``clients`` connections busy, each with one request at a time.

    Args:
        port: Of a server on the loopback.
        request: Head and body of HTTP/1.1, the same every time; the connection must stay open.
        clients: Number of connections.
        seconds: How long requests are sent.
        warmup: How long before answers count.
    """
    load = Load()
    selector = selectors.DefaultSelector()
    connections = [_Connection(socket.create_connection(("127.0.0.1", port))) for _ in range(clients)]
    for connection in connections:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.setblocking(False)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        _send(connection, request, selector)
    begun = time.perf_counter() + warmup
    end = begun + seconds
    busy = clients
    while busy:
        events = selector.select(timeout=_PATIENCE_S)
        if not events:
            raise TimeoutError("The server does not answer.")
        for key, _ in events:
            connection = key.data
            if connection.unsent:
                _write(connection, selector)
            elif _read(connection):
                now = time.perf_counter()
                if connection.started >= begun:
                    load.latencies.append(now - connection.started)
                    load.errors += not connection.received.startswith(b"HTTP/1.1 200")
                if now < end:
                    _send(connection, request, selector)
                else:
                    selector.unregister(connection.socket)
                    connection.socket.close()
                    busy -= 1
    load.seconds = time.perf_counter() - begun
    selector.close()
    return load


def _send(connection: _Connection, request: bytes, selector: selectors.BaseSelector) -> None:
    connection.started = time.perf_counter()
    connection.received = bytearray()
    connection.wanted = -1
    connection.unsent = memoryview(request)
    selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
    _write(connection, selector)


def _write(connection: _Connection, selector: selectors.BaseSelector) -> None:
    try:
        sent = connection.socket.send(connection.unsent)
    except BlockingIOError:
        return
    connection.unsent = connection.unsent[sent:]
    if not connection.unsent:
        selector.modify(connection.socket, selectors.EVENT_READ, connection)


def _read(connection: _Connection) -> bool:
    """Whether the answer is there."""
    part = connection.socket.recv(1 << 18)
    if not part:
        raise ConnectionError("The server closed the connection.")
    received = connection.received
    received += part
    if connection.wanted < 0:
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return False
        lines = bytes(received[:head]).lower().split(b"\r\n")
        lengths = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
        if lengths:
            connection.wanted = head + 4 + int(lengths[0])
        elif b"transfer-encoding: chunked" in lines:
            return received.endswith(b"0\r\n\r\n")
        else:
            raise ConnectionError(f"The answer does not say its length: {bytes(received[:head])!r}")
    return len(received) >= connection.wanted
