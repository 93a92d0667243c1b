"""Values of settings, read for what they should be."""

from __future__ import annotations

from typing import Any

import pytest
from deploykit_exporters.families.shared.setting_values import as_mapping, pair_of, sides_of


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (224, (224, 224)),
        ([192, 256], (192, 256)),
        ((3, 192, 256), (192, 256)),
        ([13, 64, 64], (64, 64)),
        ([192, 256, 3], (192, 256)),
        ([224], (224, 224)),
        *((wrong, None) for wrong in (0, -4, True, 0.2, "large", None, [], [1, 2, 3, 4], [0, 5], ["a", "b"])),
    ],
    ids=str,
)
def test_sizes_in_every_form(value: Any, size: tuple[int, int] | None) -> None:
    assert sides_of(value) == size


def test_three_numbers_are_no_size_where_there_are_no_channels() -> None:
    assert sides_of([3, 192, 256], channels=False) is None
    assert sides_of([192, 256], channels=False) == (192, 256)


def test_pairs_and_mappings() -> None:
    assert (pair_of(3), pair_of([1, 2])) == ((3, 3), (1, 2))
    assert (as_mapping({"a": 1}), as_mapping([1]), as_mapping(None)) == ({"a": 1}, {}, {})
