"""Names of strangers in what a Ray Serve application answers."""

from __future__ import annotations

import json

from deploykit.package.answers import JsonAnswer


def test_it_is_exact_and_commands_no_terminal() -> None:
    value = {"name": "a\x9b2J\u202e\x7f\x1b\u732b", "score": 0.5}
    body = bytes(JsonAnswer(value).body)
    assert json.loads(body) == value
    assert body.decode() == '{"name":"a\\u009b2J\\u202e\\u007f\\u001b\u732b","score":0.5}'
