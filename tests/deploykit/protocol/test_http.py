"""Headers, queries and compressed bodies."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.protocol.errors import BadRequestError, MediaTypeError, RequestError, TooLargeError
from deploykit.protocol.http import headers_by_name, inflated, read_query

PACK = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}


@given(st.binary(max_size=400), st.sampled_from(sorted(PACK)))
def test_a_body_comes_back(body: bytes, encoding: str) -> None:
    assert inflated(PACK[encoding](body), encoding, 400) == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_a_whole_body_is_refused(encoding: str) -> None:
    packed = PACK[encoding](bytes(1000))
    with pytest.raises(TooLargeError, match="at most 999 bytes") as refused:
        inflated(packed, encoding, 999, hint="Ask for more.")
    assert refused.value.hint == "Ask for more."
    for broken in (packed[:-1], packed + b"x", b"other bytes"):
        with pytest.raises(BadRequestError, match=encoding):
            inflated(broken, encoding, 1000)


def test_other_compressions_are_named() -> None:
    with pytest.raises(MediaTypeError, match="'br'"):
        inflated(b"", "br", 10)


def test_headers_that_come_twice_are_joined() -> None:
    pairs = [(b"accept", b"a"), (b"inference-header-content-length", b"3"), (b"accept", b"\xe9")]
    assert headers_by_name(pairs) == {"accept": "a, \u00e9", "inference-header-content-length": "3"}


def test_a_query_is_read() -> None:
    assert read_query(b"conf=0.5&id=%C3%A9+1&format=") == {"conf": "0.5", "id": "\u00e9 1", "format": ""}


@pytest.mark.parametrize("query", [b"a=1&a=1", b"a=\xff", b"a=%ff", b"&".join([b"a=1"] * 33)])
def test_queries_that_are_refused(query: bytes) -> None:
    with pytest.raises(BadRequestError):
        read_query(query)


@given(st.binary(max_size=100))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    try:
        read_query(query)
    except RequestError as refused:
        assert refused.status == 400
