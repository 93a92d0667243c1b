"""Every help shows examples, and each of them can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from deploykit import cli

_PLACE = re.compile(r"[\w-]+\.[a-z]\w*|[\w-]+/")
"""What an example names as a file or folder."""


def commands() -> Iterator[click.Command]:
    """The program, its commands, and theirs."""
    yield cli.cli
    context = click.Context(cli.cli)
    for name in cli.COMMANDS:
        command = cli.cli.get_command(context, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from command.commands.values()


def typed(example: str) -> list[list[str]]:
    """The arguments of each ``deploykit`` in a line of a shell."""
    found = re.findall(r"\bdeploykit ([^)|>]*)", example)
    return [shlex.split(arguments) for arguments in found]


@pytest.mark.parametrize("command", list(commands()), ids=lambda command: str(command.name))
def test_every_help_shows_two_examples(command: click.Command, capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(command, info_name=command.name, max_content_width=100) as context:
        lines = command.get_help(context).splitlines()
    examples = getattr(command, "examples", ())
    assert len(set(examples)) == 2
    for example in examples:
        assert f"  {example}" in lines
        assert len(example) <= 98
        assert "deploykit" in example


@pytest.mark.parametrize("command", list(commands()), ids=lambda command: str(command.name))
def test_every_example_parses(
    command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the files that it names: options exist, their values and the arguments fit."""
    monkeypatch.chdir(tmp_path)
    for example in getattr(command, "examples", ()):
        lines = typed(example)
        assert lines, example
        for line in lines:
            for word in line:
                for place in _PLACE.findall(word.partition("=")[2] or word):
                    if place.endswith("/"):
                        Path(place).mkdir(exist_ok=True)
                    elif not Path(place).exists():
                        Path(place).write_bytes(b"")
            _parse(cli.cli, "deploykit", line)


def _parse(command: click.Command, name: str, arguments: list[str]) -> None:
    """Parse as a run does, down to the command that would be run."""
    with command.make_context(name, list(arguments)) as context:
        if not isinstance(command, click.Group):
            return
        rest = [*context._protected_args, *context.args]
        assert rest, name
        inner = command.get_command(context, rest[0])
        assert inner is not None, rest
        with context:
            _parse_inner(inner, context, rest)


def _parse_inner(command: click.Command, parent: click.Context, words: list[str]) -> None:
    with command.make_context(words[0], words[1:], parent=parent) as context:
        if isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            inner = command.get_command(context, rest[0])
            assert inner is not None, rest
            _parse_inner(inner, context, rest)
