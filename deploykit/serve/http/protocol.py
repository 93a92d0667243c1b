"""HTTP/1.1 on a connection: uvicorn's, with large bodies read straight into the memory that the engine reads.

uvicorn hands a body to the application in pieces, copying each several times and pausing the socket for
each. For a tensor of a megabyte this takes longer than the rest of its request. Here a body of known
length has one buffer, into which the kernel copies it; the engine's input is a view of it.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
import numpy as np
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BODY", "GONE", "Body", "make_protocol"]

BODY = "deploykit.body"
"""Key in the ASGI scope of a body that is read here; see ``Body``."""

GONE = "deploykit.gone"
"""Key in the ASGI scope of a future that is done when the client went away."""

_SCRATCH = memoryview(bytearray(1 << 16))
"""What connections read heads and small bodies into; empty again before the event loop turns to another."""

_DIRECT = 1 << 16
"""Bytes from which a body gets memory of its own."""

_ALIGNMENT = 64
"""Bytes, as large as a cache line and as the engines' widest registers."""

_MAX_HEAD = 1 << 16


class Body:
    """A body being received.

    Args:
        size: Its size in bytes.
        lead: Number of bytes before the first binary tensor, which must be aligned.
    """

    def __init__(self, size: int, lead: int) -> None:
        # Not bytearray, which would fill the memory first.
        memory = np.empty(size + 2 * _ALIGNMENT, np.uint8)
        address: int = memory.__array_interface__["data"][0]
        start = -(address + lead) % _ALIGNMENT
        self._view = memory[start : start + size].data
        self._filled = 0
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def whole(self, patience: float) -> memoryview | None:
        """The complete body; None if the client disconnected.

        Raises:
            TimeoutError: it did not arrive within that many seconds.
        """
        if not self.complete:
            expiry = self._loop.call_later(patience, self._expire)
            try:
                await self._done
            finally:
                expiry.cancel()
        return self._view if self.complete else None

    @property
    def complete(self) -> bool:
        return self._filled == len(self._view)

    def rest(self) -> memoryview:
        """The buffer for the bytes still to come."""
        return self._view[self._filled :]

    def add(self, part: bytes) -> None:
        """Take bytes that were read elsewhere."""
        self._view[self._filled : self._filled + len(part)] = part
        self.received(len(part))

    def received(self, count: int) -> None:
        """Note that bytes were written to the start of ``rest``."""
        self._filled += count
        if self.complete:
            self.end()

    def end(self) -> None:
        """Note that no more bytes will come."""
        if not self._done.done():
            self._done.set_result(None)

    def _expire(self) -> None:
        if not self._done.done():
            self._done.set_exception(TimeoutError())


def make_protocol(*, max_body: int, head_timeout: float) -> type[asyncio.Protocol]:
    """Make the class that uvicorn instantiates for each connection.

    Args:
        max_body: Largest body in bytes that is read here; the application refuses larger ones.
        head_timeout: Seconds within which the head of every request must arrive, including a connection's
            first.
    """

    class Connection(_Connection):
        def __init__(self, **uvicorns: Any) -> None:
            super().__init__(_Http(max_body, head_timeout, uvicorns))

    return cast("type[asyncio.Protocol]", Connection)


class _Connection(asyncio.BufferedProtocol):
    """The buffered protocol that the transport reads into. It is separate from ``_Http``, because uvloop
    does not treat an asyncio.Protocol as buffered.
    """

    def __init__(self, http: _Http) -> None:
        self._http = http
        self.connection_made = http.connection_made  # type: ignore[method-assign]
        self.connection_lost = http.connection_lost  # type: ignore[method-assign]
        self.pause_writing = http.pause_writing  # type: ignore[method-assign]
        self.resume_writing = http.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        body = self._http.direct
        return _SCRATCH if body is None else body.rest()

    def buffer_updated(self, nbytes: int) -> None:
        if self._http.direct is None:
            self._http.data_received(bytes(_SCRATCH[:nbytes]))
        else:
            self._http.body_received(nbytes)


class _Gathered:
    """A transport that sends everything written in one turn of the event loop with one system call.

    uvicorn writes the head and the body of an answer separately, so that the first write wakes a client
    that has to wait for the second.
    """

    def __init__(self, transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(b"".join(parts))


class _Http(HttpToolsProtocol):
    """uvicorn's protocol, which also handles the start of a large body.

    Attributes:
        direct: The body to which the next bytes belong; None: they go to the parser.
    """

    def __init__(self, max_body: int, head_timeout: float, uvicorns: dict[str, Any]) -> None:
        super().__init__(**uvicorns)
        self.direct: Body | None = None
        self._max_body = max_body
        self._head_timeout = head_timeout
        self._body: Body | None = None
        self._head = 0
        self._overdue: asyncio.TimerHandle | None = None
        self._gone = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", _Gathered(transport, self.loop)))
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        if self._body is not None:
            self._body.end()
        self._gone.set_result(None)
        super().connection_lost(exc)

    def body_received(self, count: int) -> None:
        """Note that bytes were read into ``direct``."""
        body = self.direct
        assert body is not None
        body.received(count)
        if body.complete:
            self._next_message()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self.send_400_response("This is not HTTP/1.1.")
            return
        if self._body is not None and not self._body.complete:
            self.direct = self._body
        self._head += len(data)
        if self._overdue is not None and self._head > _MAX_HEAD:
            self.send_400_response(f"A head has at most {_MAX_HEAD} bytes here.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._own_scope()[GONE] = self._gone
        self._body = None
        if self._overdue is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        least = 1 if self.parser.should_upgrade() else _DIRECT
        # uvicorn asks those for their body who want to be asked.
        known = length.isdigit() and b"transfer-encoding" not in headers and not self.expect_100_continue
        if known and least <= int(length) <= self._max_body:
            lead = headers.get(b"inference-header-content-length", b"")
            self._body = Body(int(length), int(lead) if lead.isdigit() and len(lead) < 20 else 0)
            self._own_scope()[BODY] = self._body
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._body is None:
            super().on_body(body)
        else:
            self._body.add(body)

    def _own_scope(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.scope)

    def _stay(self, data: bytes) -> None:
        """Stay with HTTP/1.1 after a request that offered another protocol (RFC 9110, 7.8).

        Clients that prefer HTTP/2 offer it with their first request, even if that has a body.
        """
        body, self._body = self._body, None
        if body is not None:
            missing = len(body.rest())
            body.add(data[:missing])
            data = data[missing:]
            if not body.complete:
                self._body = self.direct = body
                return
        self._next_message()
        if data:
            self.data_received(data)

    def _next_message(self) -> None:
        """Reset the parser, which still waits for a body that it never saw."""
        self._body = self.direct = None
        self.parser = httptools.HttpRequestParser(self)

    def _expect_head(self) -> None:
        self._head = 0
        self._overdue = self.loop.call_later(self._head_timeout, self._give_up)

    def _head_came(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _give_up(self) -> None:
        self._overdue = None
        self.transport.close()
