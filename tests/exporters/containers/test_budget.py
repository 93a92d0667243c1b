"""Keys that a file may have: whatever training writes, however many; not thousands with the same hash."""

from __future__ import annotations

import pytest
from deploykit_exporters.containers.budget import Budget, ExcessError

PRIME = (1 << 61) - 1  # every multiple of it has the hash 0


@pytest.mark.parametrize(
    "keys",
    [
        [(row, column) for row in range(300) for column in range(300)],
        [index / 7 for index in range(100_000)],
        [frozenset((index, index + 1)) for index in range(50_000)],
        [("conv", 1)] * 100_000,
        [2**61 + index for index in range(100_000)],
        [hash(f"name {index}") for index in range(50_000)],
        list(range(-50_000, 50_000)),
    ],
)
def test_keys_of_trainings_pass(keys: list[object]) -> None:
    budget = Budget(1 << 20)
    for key in keys:
        budget.key(key)


@pytest.mark.parametrize(
    ("keys", "most"),
    [
        ([PRIME * index for index in range(10_000)], 4002),
        ([(1, 2, PRIME * index) for index in range(10_000)], 1001),
        ([(frozenset(range(90)), PRIME * index) for index in range(10_000)], 1),
    ],
)
def test_different_keys_of_one_hash_end(keys: list[object], most: int) -> None:
    budget = Budget(1 << 20)
    taken = 0
    with pytest.raises(ExcessError, match="same hash"):
        for key in keys:
            budget.key(key)
            taken += 1
    assert taken <= most
