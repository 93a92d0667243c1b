"""JSON of requests and answers, with the names of strangers in it."""

from __future__ import annotations

import json

import pytest

from deploykit.protocol.documents import json_bytes, json_object
from deploykit.protocol.errors import BadRequestError


def test_an_answer_is_exact_and_commands_no_terminal() -> None:
    value = {"name": "a\x9b2J\u202e\x7f\x1b\u732b", "score": 0.5}
    body = json_bytes(value)
    assert json.loads(body) == value
    assert body.decode() == '{"name":"a\\u009b2J\\u202e\\u007f\\u001b\u732b","score":0.5}'


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b'{"a": NaN}', b'{"a": 1} 2', b'"\xff"'])
def test_other_bodies_than_an_object_are_refused(text: bytes) -> None:
    with pytest.raises(BadRequestError, match=r"is not valid JSON|wants a JSON object"):
        json_object(text)
