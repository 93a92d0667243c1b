"""What was found, told in a few words whatever it is."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from deploykit_runtimes.text.described import described
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "None"),
        (True, "True"),
        (0.5, "0.5"),
        ("224x", "'224x'"),
        (b"PK", "b'PK'"),
        (Path("a.pt"), "PosixPath('a.pt')"),
        ((1, 2, 3), "(1, 2, 3)"),
        ({"a": 1}, "{'a': 1}"),
        ([], "[]"),
        ([[1]], "a list of 1 entry"),
        (list(range(100)), "a list of 100 entries"),
        (OrderedDict(a=torch.zeros(2), b=torch.zeros(3)), "an OrderedDict of 2 entries"),
        (torch.zeros(1000, 3), "a torch Tensor of shape (1000, 3)"),
        (np.zeros((4, 4)), "a numpy ndarray of shape (4, 4)"),
        (torch.nn.Linear(2, 2), "a torch Linear"),
        (int, "a type"),
        (object(), "an object"),
    ],
)
def test_values(value: object, told: str) -> None:
    assert described(value) == told


@given(st.one_of(st.text(), st.binary(), st.lists(st.text()), st.dictionaries(st.integers(), st.text())))
def test_anything_is_short(value: object) -> None:
    assert 0 < len(described(value)) <= 260


def test_a_long_text_tells_its_length() -> None:
    assert described("x" * 5000) == f"'{'x' * 40}'... (5,000 characters)"
