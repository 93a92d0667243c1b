"""A request and a response of HTTP over ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
from deploykit_runtimes.printable import printable_json

from deploykit.serve.errors import (
    BadRequestError,
    MediaTypeError,
    SlowBodyError,
    TooLargeError,
)
from deploykit.serve.http.protocol import BODY, GONE, Body

__all__ = [
    "CODINGS",
    "DisconnectedError",
    "Receive",
    "Request",
    "Response",
    "Scope",
    "Send",
    "json_bytes",
    "json_response",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CODINGS = {"gzip": 31, "deflate": 15}
"""Compressions of a body and zlib's ``wbits`` for them; deflate is the zlib format (RFC 9110, 8.4.1)."""

_MAX_PARAMETERS = 32


class DisconnectedError(Exception):
    """The client went away before its answer."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What the client gets."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON document."""
    return Response(status=status, body=json_bytes(value), headers=headers or {})


def json_bytes(value: Any) -> bytes:
    """A JSON document, in which whatever a terminal could obey is escaped."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    if body.isascii() and b"\x7f" not in body:
        return body
    return printable_json(body.decode()).encode()


class Request:
    """One request.

    Args:
        scope, receive: Of ASGI.
        limit: Most bytes of a body, compressed or not.
        patience: Seconds that the whole body may take to come.
    """

    def __init__(self, scope: Scope, receive: Receive, *, limit: int, patience: float) -> None:
        self.method: str = scope["method"]
        self._scope = scope
        self._receive = receive
        self._limit = limit
        self._patience = patience
        self._complete = False
        self.headers = _by_name(scope["headers"])
        """By their names in lower case; of several alike, joined by commas."""

    @property
    def path(self) -> str:
        """The path as it came, percent-encoded."""
        return self._raw_path.decode("latin-1")

    @property
    def _raw_path(self) -> bytes:
        raw: bytes = self._scope.get("raw_path") or self._scope["path"].encode()
        return raw

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path between its slashes, each percent-decoded by itself.

        Raises:
            BadRequestError: one of them is no UTF-8.
        """
        try:
            return tuple(unquote_to_bytes(part).decode() for part in self._raw_path.split(b"/")[1:])
        except UnicodeDecodeError as error:
            raise BadRequestError("The path is no UTF-8.") from error

    @cached_property
    def query(self) -> dict[str, str]:
        """Parameters behind the ``?``.

        Raises:
            BadRequestError: there are too many, or one comes twice.
        """
        try:
            pairs = parse_qsl(
                self._scope["query_string"].decode("ascii"),
                keep_blank_values=True,
                max_num_fields=_MAX_PARAMETERS,
                errors="strict",
            )
        except ValueError as error:
            raise BadRequestError("The query is malformed.") from error
        if len(dict(pairs)) != len(pairs):
            raise BadRequestError("A parameter of the query comes twice.")
        return dict(pairs)

    def check_length(self) -> None:
        """Refuse a body by the length that it declares.

        Raises:
            TooLargeError: it is beyond the limit.
        """
        declared = self.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            raise self._too_large()

    async def body(self) -> bytes | memoryview:
        """The whole body, inflated where it came compressed; a large one lies where it was read to.

        Raises:
            TooLargeError: it is beyond the limit.
            SlowBodyError: it took too long to come.
            MediaTypeError, BadRequestError: its compression is unknown or broken.
            DisconnectedError: the client went away.
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
        return body if encoding == "identity" else await asyncio.to_thread(self._inflated, body, encoding)

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
        """Done when the client went away."""
        future: asyncio.Future[None] = self._scope[GONE]
        return future

    def _inflated(self, body: bytes | memoryview, encoding: str) -> bytes:
        if encoding not in CODINGS:
            raise MediaTypeError(f"Bodies come plain, or as gzip or deflate, found {encoding[:32]!r}.")
        inflater = zlib.decompressobj(CODINGS[encoding])
        try:
            inflated = inflater.decompress(body, self._limit + 1)
        except zlib.error as error:
            raise BadRequestError(f"The body is no {encoding}.") from error
        if len(inflated) > self._limit:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise BadRequestError(f"The body is no whole {encoding}.")
        return inflated

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"A request has at most {self._limit} bytes here.", hint="The server's option is --max-body."
        )


def _by_name(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
