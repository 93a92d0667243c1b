"""Records packed for a file come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.evaluation.scores.records import pack, unpack


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8))
def test_records_come_back(lengths: list[tuple[int, int]]) -> None:
    generator = np.random.default_rng(0)
    records = [
        {"scores": generator.random(a).astype(np.float32), "boxes": generator.random((b, 10)) < 0.5}
        for a, b in lengths
    ]
    found = unpack(pack(records))
    assert len(found) == len(records)
    for one, other in zip(found, records, strict=True):
        assert one.keys() == other.keys()
        for name, values in one.items():
            assert values.dtype == other[name].dtype
            assert np.array_equal(values, other[name])


def test_lengths_that_contradict_the_arrays_are_refused() -> None:
    packed = pack([{"a": np.zeros(3)}, {"a": np.zeros(2)}])
    with pytest.raises(ValueError, match="rows"):
        unpack({**packed, "a": np.zeros(4)})
