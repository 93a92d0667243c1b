"""What web pages may ask of a server without a key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deploykit_runtimes.errors import DeploykitError

from deploykit import serve
from deploykit.protocol.errors import ForbiddenError
from deploykit.serve.http.origin import OriginPolicy
from deploykit.serve.options import ServeOptions

UNLOAD = "/v2/repository/models/tiny/unload"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://[", ""])
def test_pages_of_other_origins_change_nothing(client, origin: str) -> None:
    for path in (UNLOAD, "/v2/repository/models/tiny/load", "/v2/models/tiny/infer", "/v2/repository/index"):
        # What a form or a fetch without CORS can send.
        status, _, content = client("POST", path, b"", Origin=origin, Content_Type="text/plain")
        assert status == 403, content
        assert list(json.loads(content)) == ["error"]
    assert client("GET", "/v2/models/tiny", Origin=origin)[0] == 200, "browsers keep the answer to themselves"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "a, b"]
)
def test_names_that_were_made_to_point_here_are_refused(client, host: str) -> None:
    for method, path in (("GET", "/v2/models/tiny/card"), ("GET", "/"), ("POST", UNLOAD)):
        status, _, content = client(method, path, Host=host, Origin=f"http://{host}")
        assert status == 403, content
    assert client("GET", "/v2/models/tiny")[0] == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "127.0.0.1", "[::1]", "127.8.8.8", "a.localhost"]
)
def test_the_server_s_own_page_and_programs_are_answered(client, host: str) -> None:
    for authority in (host, f"{host}:{client.port}"):
        for origin in ({}, {"Origin": f"http://{authority.lower()}"}):
            status, _, content = client("POST", "/v2/repository/index", b"{}", Host=authority, **origin)
            assert status == 200, content


@contextmanager
def serving(model: Path, **options: Any) -> Iterator[int]:
    with serve.running(f"tiny={model}", port=0, grpc_port=None, poll_s=0.0, **options) as server:
        yield server.state.port


def test_pages_that_may_call(classifier: Path, client_of: Callable[..., Any]) -> None:
    with serving(classifier, cors=("https://good.example",)) as port:
        client = client_of(port)
        index = "/v2/repository/index"
        assert client("POST", index, Origin="https://good.example")[0] == 200
        assert client("POST", index, Host="good.example", Origin="https://good.example")[0] == 200
        for wrong in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            assert client("POST", index, **wrong)[0] == 403
    with serving(classifier, cors=("*",)) as port:
        anyone = {"Host": "any.example", "Origin": "https://other.example"}
        assert client_of(port)("POST", "/v2/repository/index", **anyone)[0] == 200


def test_a_key_is_enough(classifier: Path, client_of: Callable[..., Any]) -> None:
    with serving(classifier, api_keys=("first-secret",)) as port:
        page = {"Host": "any.example", "Origin": "https://other.example"}
        client = client_of(port)
        assert client("POST", "/v2/repository/index", **page)[0] == 401
        assert client("POST", "/v2/repository/index", Authorization="Bearer first-secret", **page)[0] == 200


@pytest.mark.parametrize(
    ("listening", "host", "origin", "good"),
    [
        ("0.0.0.0", "models.example", None, True),
        ("0.0.0.0", "models.example", "http://models.example", True),
        ("0.0.0.0", "models.example", "http://evil.example", False),
        ("0.0.0.0", "", "http://evil.example", False),
        ("127.0.0.1", "", None, True),
        ("127.0.0.1", "192.168.1.5:8000", None, True),  # a port that is forwarded
        ("127.0.0.1", "[fe80::1]:8000", None, True),
        ("127.0.0.1", "models", None, False),
        ("localhost", "models", None, False),
        ("::1", "models", None, False),
        ("models", "models:8000", None, True),
    ],
)
def test_the_address_that_is_listened_on_counts(
    listening: str, host: str, origin: str | None, good: bool
) -> None:
    headers = {"host": host} if origin is None else {"host": host, "origin": origin}
    try:
        OriginPolicy(ServeOptions(host=listening)).check("POST", headers)
    except DeploykitError as error:
        assert not good
        assert isinstance(error, ForbiddenError)
        assert "--cors" in error.hint
    else:
        assert good
