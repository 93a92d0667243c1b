"""Values of options."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.commands.shared.line import AXES
from deploykit.commands.shared.options import (
    axes,
    image_size,
    positive_numbers,
)

CONTEXT = click.Context(click.Command("x"))
OPTION = click.Option(["--x"])


@given(st.lists(st.sampled_from(AXES), min_size=1))
def test_axes_come_once_and_in_order(chosen: list[str]) -> None:
    wanted = tuple(axis for axis in AXES if axis in chosen)
    assert axes(CONTEXT, OPTION, (",".join(chosen),)) == wanted
    assert axes(CONTEXT, OPTION, tuple(chosen)) == wanted
    assert axes(CONTEXT, OPTION, (*chosen, "all")) == ("all",)


@given(st.integers(1, 16384), st.integers(1, 16384))
def test_image_sizes(height: int, width: int) -> None:
    assert image_size(CONTEXT, OPTION, f"{height},{width}") == (height, width)
    assert image_size(CONTEXT, OPTION, f"{height}x{width}") == (height, width)
    assert image_size(CONTEXT, OPTION, str(height)) == (height, height)


@given(st.text())
def test_any_other_text_is_a_usage_error(text: str) -> None:
    for parse, value in ((image_size, text), (positive_numbers, text), (axes, (text,))):
        try:
            found: Any = parse(CONTEXT, OPTION, value)
        except click.BadParameter:
            continue
        assert all(isinstance(item, int | str) for item in found)


def test_positive_numbers() -> None:
    assert positive_numbers(CONTEXT, OPTION, "1,8,32") == (1, 8, 32)
    assert positive_numbers(CONTEXT, OPTION, None) == ()
    for text in ("0", "-1", "1,,2", "1.5", "٣", ""):
        with pytest.raises(click.BadParameter):
            positive_numbers(CONTEXT, OPTION, text)
