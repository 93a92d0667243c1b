"""Values of options that are files or what those hold."""

from __future__ import annotations

from typing import Any

import pytest
from deploykit_exporters.option_values import as_axes
from deploykit_runtimes.contract.axes import AXES
from deploykit_runtimes.errors import OptionError
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.sampled_from(AXES), min_size=1))
def test_axes_come_once_and_in_order(chosen: list[str]) -> None:
    wanted = tuple(axis for axis in AXES if axis in chosen)
    assert as_axes(",".join(chosen)) == wanted
    assert as_axes((",".join(chosen),)) == wanted
    assert as_axes(chosen) == wanted
    assert as_axes([*chosen, "all"]) == ("all",)


def test_axes_that_are_told_by_a_flag() -> None:
    assert as_axes(True) == ("all",)
    assert as_axes(False) == as_axes(()) == ()


@given(st.one_of(st.text(), st.integers(), st.lists(st.text())))
def test_anything_else_is_refused(value: Any) -> None:
    try:
        found = as_axes(value)
    except OptionError:
        return
    assert set(found) <= {*AXES, "all"}


def test_the_nearest_axis_is_named() -> None:
    with pytest.raises(OptionError, match="found 'bach'") as caught:
        as_axes("bach,width")
    assert caught.value.hint == "Did you mean batch?"
