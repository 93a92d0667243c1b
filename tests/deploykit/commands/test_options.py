"""Values of options, and the optional value of --dynamic."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from deploykit.commands.options import (
    AXES,
    DynamicCommand,
    axes,
    common,
    image_size,
    positive_numbers,
)

CONTEXT = click.Context(click.Command("x"))
OPTION = click.Option(["--x"])


@click.command(cls=DynamicCommand)
@click.argument("checkpoint")
@click.option("-o", "output")
@click.option("--dynamic", callback=axes)
@common
def probe(checkpoint: str, output: str | None, dynamic: tuple[str, ...], json_output: bool) -> None:
    """Echo what was understood."""
    click.echo(f"{checkpoint}|{output}|{','.join(dynamic)}|{json_output}")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["ckpt.pth"], "ckpt.pth|None||False"),
        (["ckpt.pth", "--dynamic"], "ckpt.pth|None|all|False"),
        (["--dynamic", "ckpt.pth"], "ckpt.pth|None|all|False"),
        (["--dynamic", "--json", "ckpt.pth"], "ckpt.pth|None|all|True"),
        (["ckpt.pth", "--dynamic", "-o", "x.onnx"], "ckpt.pth|x.onnx|all|False"),
        (["--dynamic", "batch", "ckpt.pth"], "ckpt.pth|None|batch|False"),
        (["--dynamic", "width,batch", "ckpt.pth"], "ckpt.pth|None|batch,width|False"),
        (["--dynamic=height", "ckpt.pth"], "ckpt.pth|None|height|False"),
        (["ckpt.pth", "--dynamic", "batch,height,width"], "ckpt.pth|None|batch,height,width|False"),
        (["--dynamic", "--", "batch"], "batch|None|all|False"),
        (["--", "--dynamic"], "--dynamic|None||False"),
    ],
)
def test_dynamic_takes_an_optional_value(args: list[str], expected: str) -> None:
    result = CliRunner().invoke(probe, args)
    assert result.output.strip() == expected


@pytest.mark.parametrize("value", ["batch,depth", "batch,", "=", "BATCH,width"])
def test_misspelt_axes_are_refused(value: str) -> None:
    result = CliRunner().invoke(probe, [f"--dynamic={value}", "ckpt.pth"])
    assert result.exit_code == 2
    assert "wanted some of batch, height, width" in result.output


@given(st.lists(st.sampled_from(AXES), min_size=1))
def test_axes_come_once_and_in_order(chosen: list[str]) -> None:
    found = axes(CONTEXT, OPTION, ",".join(chosen))
    assert found == tuple(axis for axis in AXES if axis in chosen)


@given(st.integers(1, 16384), st.integers(1, 16384))
def test_image_sizes(height: int, width: int) -> None:
    assert image_size(CONTEXT, OPTION, f"{height},{width}") == (height, width)
    assert image_size(CONTEXT, OPTION, f"{height}x{width}") == (height, width)
    assert image_size(CONTEXT, OPTION, str(height)) == (height, height)


@given(st.text())
def test_any_other_text_is_a_usage_error(text: str) -> None:
    for parse in (image_size, positive_numbers, axes):
        try:
            found: Any = parse(CONTEXT, OPTION, text)
        except click.BadParameter:
            continue
        assert all(isinstance(item, int | str) for item in found)


def test_positive_numbers() -> None:
    assert positive_numbers(CONTEXT, OPTION, "1,8,32") == (1, 8, 32)
    assert positive_numbers(CONTEXT, OPTION, None) == ()
    for text in ("0", "-1", "1,,2", "1.5", "٣", ""):
        with pytest.raises(click.BadParameter):
            positive_numbers(CONTEXT, OPTION, text)
