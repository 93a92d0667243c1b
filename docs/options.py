"""Write the page of all options: python docs/options.py [FOLDER]

It is made of the command line, whose options are fields of dataclasses (commands/shared/declared.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from deploykit.cli import COMMANDS, cli
from deploykit.commands.shared.declared import DeclaredOption

NAME = "options.md"
_EVERYWHERE = ("--json", "--debug", "--help")
_HEAD = """\
# Options

<!-- Made by docs/options.py: change the fields of the options, not this page. -->

Every option of every command, and the keyword of the same meaning in Python. Every command also has `--help`,
`--debug` (the traceback of an error) and `--json` (one JSON document on stdout).
"""


def make(folder: Path) -> Path:
    """Write the page into a folder, and return its path."""
    target = folder / NAME
    target.write_text("\n".join([_HEAD, *sections()]).rstrip() + "\n", encoding="utf-8")
    return target


def sections() -> Iterator[str]:
    """A heading and a table for each command that has options of its own."""
    for path, command in commands():
        rows = [row(each) for each in command.params if isinstance(each, click.Option) and is_own(each)]
        if rows:
            head = ["| option | keyword | default | |", "| --- | --- | --- | --- |"]
            yield "\n".join([f"## `deploykit {path}`\n", *head, *rows, ""])


def commands() -> Iterator[tuple[str, click.Command]]:
    """The commands by what is typed, those of groups too."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", command.commands[inner]) for inner in sorted(command.commands))
        elif command is not None:
            yield name, command


def is_own(option: click.Option) -> bool:
    """Whether it is not one that every command has."""
    return not set(option.opts) & set(_EVERYWHERE)


def row(option: click.Option) -> str:
    """The line of an option."""
    value = "" if option.is_flag else f" {option.metavar or option.make_metavar(click.Context(cli))}"
    spelt = f"`{', '.join(option.opts)}{value}`"
    keyword, told, default = "", option.help or "", ""
    if isinstance(option, DeclaredOption):
        keyword = f"`{option.declared.name}`"
        told = f"{told} {option.declared.more}".rstrip()
        default = shown(option.declared.default)
    return (
        "| "
        + " | ".join(
            text.replace("|", "\\|").replace("<", "&lt;") for text in (spelt, keyword, default, told)
        )
        + " |"
    )


def shown(default: object) -> str:
    """A default, where it says more than that nothing was given."""
    if default is None or default is False or default in ("", ()):
        return ""
    return f"`{', '.join(default) if isinstance(default, tuple) else default}`"


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
