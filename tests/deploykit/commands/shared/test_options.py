"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from deploykit_runtimes.devices import runtime_of

from deploykit import cli
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import runtime_option


@click.command(cls=Command)
@runtime_option
def probe(**values: object) -> None:
    """Echo what was understood."""
    click.echo(values)


@pytest.mark.parametrize(
    ("args", "runtime", "device"),
    [
        ([], None, None),
        (["--runtime", "ov"], "ov", None),
        (["--cuda"], "ort-cuda", None),
        (["--runtime", "trt", "--trt"], "trt", None),
        (["--device", "cuda:1"], None, "cuda:1"),
        (["--trt", "--device", "1"], "trt", "1"),
    ],
)
def test_a_runtime_and_a_device(args: list[str], runtime: str | None, device: str | None) -> None:
    result = CliRunner().invoke(probe, args)
    assert result.output.strip() == str({"runtime": runtime, "device": device})


def commands_with(option: str) -> Iterator[str]:
    for name in cli.COMMANDS:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        if command is not None and any(option in parameter.opts for parameter in command.params):
            yield name


def test_every_command_that_has_a_runtime_has_the_device_too() -> None:
    having = set(commands_with("--runtime"))
    assert {"predict", "verify", "build", "serve", "bench", "doctor"} <= having
    assert set(commands_with("--device")) == having


def test_the_help_of_the_device_names_what_is_understood() -> None:
    from deploykit_runtimes.devices import RuntimeOptions
    from deploykit_runtimes.options.option import options_of

    [text] = [each.help for each in options_of(RuntimeOptions) if each.name == "device"]
    words = text.partition(": ")[2].removesuffix(", ...").replace(" (a GPU)", "").split(", ")
    assert len(words) == 5
    assert all(runtime_of(word)[0] for word in words)
