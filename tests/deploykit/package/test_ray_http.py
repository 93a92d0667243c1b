"""Bodies and responses of a Ray Serve application, by Starlette, which Ray hands over."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from deploykit.package import ray_http
from deploykit.package.ray_http import read_body, to_starlette
from deploykit.protocol.errors import TooLargeError
from deploykit.protocol.responses import Response, json_response
from deploykit.serve.options import ServeOptions


def request(*parts: bytes, length: str | None = None) -> Request:
    coming = list(parts)

    async def receive() -> dict[str, object]:
        part = coming.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(coming)}

    headers = [] if length is None else [(b"content-length", length.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def test_bodies_are_as_large_as_in_serve() -> None:
    assert ServeOptions().max_body == ray_http.MAX_BODY


def test_a_body_is_read_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_http, "MAX_BODY", 5)
    assert asyncio.run(read_body(request(b"abc", b"de"))) == b"abcde"
    for refused in (request(b"abc", b"def"), request(b"", length="6")):
        with pytest.raises(TooLargeError, match="at most 5 bytes"):
            asyncio.run(read_body(refused))


def test_a_response_keeps_its_status_type_and_headers() -> None:
    sent = to_starlette(json_response({"error": "full"}, status=503, headers={"Retry-After": "1"}))
    assert (sent.status_code, bytes(sent.body)) == (503, b'{"error":"full"}')
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["retry-after"] == "1"
    assert to_starlette(Response(body=b"x", content_type="image/png")).headers["content-type"] == "image/png"
