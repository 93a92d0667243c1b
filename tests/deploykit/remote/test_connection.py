"""Addresses of servers, and answers of any form."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from deploykit_runtimes.errors import ModelError, OptionError, RuntimeUnavailableError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploykit.remote.connection import Connection, parse_url

Answers = dict[str, tuple[int, bytes, dict[str, str]]]
Answering = Callable[[Answers], str]
LENGTH = "Inference-Header-Content-Length"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a:8000", ("http://a:8000", "", "")),
        ("https://a/", ("https://a", "", "")),
        ("http://a/v2", ("http://a", "", "")),
        ("http://a/v2/models/cats", ("http://a", "", "cats")),
        ("http://a/v2/models/a%20b/", ("http://a", "", "a b")),
        ("http://a/ray/v2/models/cats", ("http://a", "/ray", "cats")),
        ("http://[::1]:80/v2beta/v2", ("http://[::1]:80", "/v2beta", "")),
    ],
)
def test_urls(url: str, parts: tuple[str, str, str]) -> None:
    assert parse_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a:8000",
        "grpc://a:8001",
        "http://",
        "http://a:0",
        "http://a:x",
        "http://a/v2/models",
        "http://a/v2/models/cats/infer",
        "http://a?b",
        "http://me:secret@a:8000",
    ],
)
def test_what_is_not_a_server_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="--url") as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "length", "words"),
    [
        (b"", "", "not a JSON object"),
        (b"[]", "", "not a JSON object"),
        (b"{}", "", "not a JSON object with outputs"),
        (b'{"outputs": 3}', "", "with outputs"),
        (b'{"outputs": [3]}', "", "not described"),
        (
            b'{"outputs": [{"name": "y", "shape": [2], "datatype": "FP33", "data": [1, 2]}]}',
            "",
            "not described",
        ),
        (b'{"outputs": [{"name": "y", "shape": [2], "datatype": "FP32", "data": [1]}]}', "", "not described"),
        (b'{"outputs": [{"name": "y", "shape": [2], "datatype": "FP32"}]}', "", "not described"),
    ],
)
def test_a_damaged_answer_is_refused(answering: Answering, body: bytes, length: str, words: str) -> None:
    url = answering({"POST /v2/models/m/infer": (200, body, {LENGTH: length} if length else {})})
    with pytest.raises(ModelError, match=words):
        Connection(url).infer("m", {"x": np.zeros((1, 2), np.float32)}, ["y"])


@pytest.mark.parametrize("size", [0, 4, 12, -8, 1 << 40])
def test_tensors_of_another_length_than_they_say_are_refused(answering: Answering, size: int) -> None:
    entry = {"name": "y", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    head = json.dumps({"outputs": [entry]}).encode()
    url = answering({"POST /v2/models/m/infer": (200, head + bytes(8), {LENGTH: str(len(head))})})
    with pytest.raises(ModelError, match="comes with"):
        Connection(url).infer("m", {"x": np.zeros((1, 2), np.float32)}, ["y"])


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.one_of(st.integers(-5, 300).map(str), st.text(max_size=5)))
def test_any_answer_is_read_or_refused(answering: Answering, body: bytes, length: str) -> None:
    safe = length if length.isascii() and length.isprintable() else ""
    url = answering({"POST /v2/models/m/infer": (200, body, {LENGTH: safe})})
    with pytest.raises(ModelError):
        Connection(url).infer("m", {"x": np.zeros((1, 2), np.float32)}, ["y"])


def test_numbers_in_json_are_read_too(answering: Answering) -> None:
    body = json.dumps({"outputs": [{"name": "y", "shape": [1, 2], "datatype": "INT64", "data": [3, 4]}]})
    url = answering({"POST /v2/models/m/infer": (200, body.encode(), {})})
    outputs, parameters = Connection(url).infer("m", {"x": np.zeros((1, 2), np.float32)}, ["y"])
    np.testing.assert_array_equal(outputs["y"], np.array([[3, 4]], np.int64))
    assert outputs["y"].dtype == np.int64
    assert parameters == {}


def test_what_a_server_says_is_printable(answering: Answering) -> None:
    body = json.dumps({"error": "no \x1b]0;title\x07" + "x" * 5000}).encode()
    url = answering({"POST /v2/models/m/infer": (400, body, {})})
    with pytest.raises(ModelError, match="HTTP 400") as caught:
        Connection(url).infer("m", {"x": np.zeros((1, 2), np.float32)}, ["y"])
    assert caught.value.problem.isprintable()
    assert len(caught.value.problem) < 700


def test_no_server_and_no_model(answering: Answering, server_info: Answers) -> None:
    with pytest.raises(RuntimeUnavailableError, match="cannot be reached"):
        Connection("http://127.0.0.1:9").server_info()
    with pytest.raises(RuntimeUnavailableError, match="does not answer as a server"):
        Connection(answering({})).model_identity("digits")
    listed = {"POST /v2/repository/index": (200, b'[{"name": "digits"}, {"name": "cats"}]', {})}
    with pytest.raises(ModelError, match="no model 'dogs'") as caught:
        Connection(answering(server_info | listed)).model_identity("dogs")
    assert "It has digits, cats." in caught.value.hint
