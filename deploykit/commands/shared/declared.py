"""Command-line options made from the fields of an options dataclass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from deploykit_runtimes.options.option import Option, Options, options_of

from deploykit.commands.shared import completing

__all__ = ["DeclaredOption", "click_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

_PATHS: dict[str, dict[str, bool]] = {
    "any": {},
    "file": {"exists": True, "dir_okay": False},
    "folder": {"file_okay": False},
    "target": {"dir_okay": False},
}


class DeclaredOption(click.Option):
    """A command-line option that knows its field.

    Attributes:
        declared: What the field declares.
    """

    def __init__(self, *args: Any, declared: Option, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.declared = declared


def click_options(
    record: type[Options], *only: str, first: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> Callable[[_F], _F]:
    """A decorator that gives a command the options that a dataclass declares, in the order of its fields.

    Args:
        record: The dataclass.
        only: Names of fields, in the order of the help; None: all that the command line has.
        first: Fields that come before the others.
        without: Fields that the command lacks or spells differently.
    """
    known = {each.name: each for each in options_of(record) if each.flags and each.name not in without}
    names = only or tuple(dict.fromkeys((*first, *known)))

    def decorate(command: _F) -> _F:
        for name in reversed(names):
            command = _click_option(known[name])(command)
        return command

    return decorate


def _click_option(option: Option) -> Callable[[_F], _F]:
    more: dict[str, Any] = {"cls": DeclaredOption, "declared": option, "help": option.help}
    if option.form == "flag":
        # A field that is on by default is turned off: --no-simplify.
        return click.option(*option.flags, option.name, is_flag=True, callback=_off_or_on(option), **more)
    if not (option.required or option.default is None or isinstance(option.default, tuple)):
        more["default"] = option.default
    if option.completes:
        more["shell_complete"] = getattr(completing, option.completes)
    return click.option(
        *option.flags,
        option.name,
        type=_type(option),
        show_default=option.default not in (None, "") and not isinstance(option.default, tuple),
        multiple=option.several,
        metavar=option.metavar,
        required=option.required,
        **more,
    )


def _off_or_on(option: Option) -> Callable[[click.Context, click.Parameter, bool], bool] | None:
    return (lambda _context, _parameter, value: not value) if option.turns_off else None


def _type(option: Option) -> click.ParamType[Any] | type:
    if option.form == "choice":
        return click.Choice(option.choices)
    if option.form == "count":
        return click.IntRange(
            None if option.least is None else int(option.least),
            None if option.most is None else int(option.most),
        )
    if option.form == "number":
        low = option.above if option.least is None else option.least
        return click.FloatRange(low, option.most, min_open=option.least is None)
    if option.form == "path" or option.path != "any":
        return click.Path(path_type=Path, **_PATHS[option.path])
    return str
