"""An HTTP request over ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

from deploykit.protocol.errors import BadRequestError, SlowBodyError, TooLargeError
from deploykit.protocol.http import body_too_large, headers_by_name, inflated, read_query
from deploykit.serve.http.protocol import BODY, GONE, Body

__all__ = [
    "DisconnectedError",
    "Receive",
    "Request",
    "Scope",
    "Send",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LIMIT_OPTION = "The server's option is --max-body."


class DisconnectedError(Exception):
    """The client disconnected before its answer."""


class Request:
    """One request.

    Args:
        scope, receive: From ASGI.
        limit: The largest body in bytes, compressed or not.
        patience: Seconds within which the whole body must arrive.
    """

    def __init__(self, scope: Scope, receive: Receive, *, limit: int, patience: float) -> None:
        self.method: str = scope["method"]
        self._scope = scope
        self._receive = receive
        self._limit = limit
        self._patience = patience
        self._complete = False
        self.headers = headers_by_name(scope["headers"])
        """By their names in lower case; of several alike, joined by commas."""

    @property
    def path(self) -> str:
        """The path as received, percent-encoded."""
        return self._raw_path.decode("latin-1")

    @property
    def _raw_path(self) -> bytes:
        raw: bytes = self._scope.get("raw_path") or self._scope["path"].encode()
        return raw

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path between its slashes, each percent-decoded separately.

        Raises:
            BadRequestError: one of them is not UTF-8.
        """
        try:
            return tuple(unquote_to_bytes(part).decode() for part in self._raw_path.split(b"/")[1:])
        except UnicodeDecodeError as error:
            raise BadRequestError("The path is not UTF-8.") from error

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters after the ``?``.

        Raises:
            BadRequestError: there are too many, or one comes twice.
        """
        return read_query(self._scope["query_string"])

    def check_length(self) -> None:
        """Refuse a body whose declared length exceeds the limit.

        Raises:
            TooLargeError: it does.
        """
        declared = self.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            raise self._too_large()

    async def body(self) -> bytes | memoryview:
        """The whole body, decompressed if necessary; a large one stays in the buffer it was read into.

        Raises:
            TooLargeError: it exceeds the limit.
            SlowBodyError: it took too long to arrive.
            MediaTypeError, BadRequestError: its compression is unknown or broken.
            DisconnectedError: the client disconnected.
        """
        self.check_length()
        try:
            if BODY in self._scope:
                body = await self._direct(self._scope[BODY])
            else:
                async with asyncio.timeout(self._patience):
                    body = await self._collected()
        except TimeoutError as error:
            raise SlowBodyError("The body took too long to come.") from error
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding == "identity":
            return body
        return await asyncio.to_thread(inflated, body, encoding, self._limit, hint=_LIMIT_OPTION)

    async def _direct(self, coming: Body) -> bytes | memoryview:
        body = await coming.whole(self._patience)
        if body is None:
            raise DisconnectedError
        return body

    async def _collected(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while not self._complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise DisconnectedError
            part = message.get("body", b"")
            self._complete = not message.get("more_body", False)
            size += len(part)
            if size > self._limit:
                raise self._too_large()
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done when the client has disconnected."""
        future: asyncio.Future[None] = self._scope[GONE]
        return future

    def _too_large(self) -> TooLargeError:
        return body_too_large(self._limit, hint=_LIMIT_OPTION)
