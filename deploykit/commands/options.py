"""Options that several commands share, and the callbacks that check them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "AXES",
    "DynamicCommand",
    "axes",
    "common",
    "existing_file",
    "existing_path",
    "image_size",
    "positive_numbers",
    "runtime_option",
    "threads_option",
]

AXES = ("batch", "height", "width")
_MAX_SIDE = 1 << 14
_F = TypeVar("_F", bound=Callable[..., Any])

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
existing_path = click.Path(exists=True, path_type=Path)


def image_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``H``, ``H,W`` or ``HxW`` in pixels, as (height, width)."""
    if value is None:
        return None
    sizes = _whole_numbers(value.lower().replace("x", ","))
    if len(sizes) not in (1, 2) or not all(1 <= n <= _MAX_SIDE for n in sizes):
        raise click.BadParameter(f"wanted H or H,W with sides of 1 to {_MAX_SIDE} pixels, found {value!r}.")
    return sizes[0], sizes[-1]


def positive_numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """``1,8,32`` as a tuple."""
    if value is None:
        return ()
    numbers = _whole_numbers(value)
    if not numbers or not all(1 <= n <= 1 << 16 for n in numbers):
        raise click.BadParameter(f"wanted positive numbers joined by commas, found {value!r}.")
    return numbers


def axes(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A comma-separated subset of ``batch``, ``height`` and ``width``, or ``all``."""
    if value in (None, "all"):
        return (value,) if value else ()
    chosen = [part.strip() for part in str(value).split(",")]
    if not set(chosen) <= set(AXES):
        raise click.BadParameter(f"wanted some of {', '.join(AXES)}, found {value!r}.")
    return tuple(axis for axis in AXES if axis in chosen)


def _whole_numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    valid = all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts)
    return tuple(int(part) for part in parts) if valid else ()


class DynamicCommand(click.Command):
    """A command whose ``--dynamic`` takes an optional value, also right before a positional argument.

    ``--dynamic`` alone frees every axis. The next word is its value only when it reads as a list of
    axes, so that ``--dynamic model.pth`` keeps its file.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _join_dynamic(args))


def _join_dynamic(args: list[str]) -> list[str]:
    end = args.index("--") if "--" in args else len(args)
    joined: list[str] = []
    position = 0
    while position < end:
        word = args[position]
        position += 1
        if word != "--dynamic":
            joined.append(word)
        elif position < end and _reads_as_axes(args[position]):
            joined.append(f"--dynamic={args[position]}")
            position += 1
        else:
            joined.append("--dynamic=all")
    return joined + args[end:]


def _reads_as_axes(word: str) -> bool:
    """A word that names an axis; misspelt companions are left for ``axes`` to refuse."""
    return any(part.strip() in (*AXES, "all") for part in word.split(","))


def common(command: _F) -> _F:
    """``--json`` and ``--debug``, which every command takes."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    as_json = click.option(
        "--json", "json_output", is_flag=True, help="Print one JSON document on stdout, progress on stderr."
    )
    return as_json(debug(command))


def runtime_option(command: _F) -> _F:
    """``--runtime NAME``; the name is checked when the model is opened."""
    return click.option(
        "--runtime",
        default="ort-cpu",
        show_default=True,
        metavar="NAME",
        help="Engine and device: ort-cpu, ort-cuda, ort-trt (`deploykit doctor` tells which run here).",
    )(command)


def threads_option(command: _F) -> _F:
    """``--threads N``."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Threads inside one operator on the CPU. Default: every usable core.",
    )(command)
