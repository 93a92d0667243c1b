"""Alignment, units and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.terminal import as_json, columns, pairs, plain, seconds, size

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(values)
def test_json_is_strict_whatever_is_in_it(value: object) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(as_json(value), parse_constant=refuse)


def test_json_of_arrays_paths_and_infinities() -> None:
    value = {1: np.float32(0.5), "a": np.arange(2), "p": Path("x"), "n": math.nan, "s": {3}}
    assert json.loads(as_json(value)) == {"1": 0.5, "a": [0, 1], "p": "x", "n": None, "s": [3]}


def test_pairs_align_and_leave_out_the_empty() -> None:
    lines = [plain(line) for line in pairs([("a", "1"), ("long", ["2", "3"]), ("none", ""), ("no", [])])]
    assert lines == ["  a     1", "  long  2", "        3"]


def test_columns_align() -> None:
    lines = [plain(line) for line in columns(("", "ms"), [("one", "1.25"), ("three", "10")])]
    assert lines == ["           ms", "  one    1.25", "  three    10"]


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (999, "999 B"), (18_600_000, "18.6 MB"), (2_500_000_000, "2.50 GB")]
)
def test_sizes(n: int, text: str) -> None:
    assert size(n) == text


def test_seconds() -> None:
    assert (seconds(0.0123), seconds(3.44)) == ("12 ms", "3.4 s")
