"""YAML, read back by PyYAML."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deploykit.package.yaml import to_yaml

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 40), 1 << 40)
    | st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
    | st.text(st.characters(codec="utf-8"), max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), values, max_size=5))
def test_what_is_written_is_read(document: dict[str, object]) -> None:
    assert (yaml.safe_load(to_yaml(document)) or {}) == document


LOOKALIKES = [
    "yes",
    "No",
    "on",
    "null",
    "~",
    "1",
    "1.5",
    "1e3",
    "0x10",
    "-",
    "--",
    "---",
    "#a",
    "x:",
    "=",
    "<<",
    "2001-01-01",
    "12:30",
    "*a",
    "&a",
    "!a",
    "%",
    "@",
    "`",
    "{",
    "[",
    "--port",
    "--1",
    "a:b",
    "a=b",
    "s3://x/y",
    ".inf",
    "y",
    "--no",
]


@pytest.mark.parametrize(
    "text", [*LOOKALIKES, "", " ", "a ", "\n", "- a", "a: b", "a #b", "a: ", "\x7f", "\u2028"]
)
def test_texts_stay_texts(text: str) -> None:
    assert yaml.safe_load(to_yaml({"key": text, text: [text, {text: text}]})) == (
        {"key": text, text: [text, {text: text}]}
    )


@pytest.mark.parametrize("text", ["1e3", "0o10", "-.5e3", "1_000", "0b1", "+1", ".1e1", "-.inf"])
def test_what_yaml_1_2_takes_for_a_number_is_quoted(text: str) -> None:
    assert to_yaml({"key": text}) == f'key: "{text}"\n'


def test_documents_and_comment() -> None:
    text = to_yaml({"a": 1}, {"b": []}, comment="first\nsecond")
    assert text.startswith("# first\n# second\n")
    assert list(yaml.safe_load_all(text)) == [{"a": 1}, {"b": []}]
