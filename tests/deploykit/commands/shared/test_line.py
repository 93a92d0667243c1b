"""How command lines are read: nothing that was typed is dropped in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import OptionError

from deploykit import cli
from deploykit.checkup.tiny import tiny_model
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Command, DynamicCommand
from deploykit.commands.shared.options import common, runtime_option


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its name, those of groups too."""
    context = click.Context(cli.cli)
    for name in cli.COMMANDS:
        command = cli.cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {one}", inner) for one, inner in command.commands.items())
        else:
            yield name, command


@click.command(cls=DynamicCommand)
@click.argument("checkpoint")
@click_options(ExportOptions, "output", "dynamic")
@common
def probe(checkpoint: str, json_output: bool, **settings: Any) -> None:
    """Echo what was understood."""
    options = ExportOptions(**settings)
    click.echo(f"{checkpoint}|{options.output}|{','.join(options.dynamic)}|{json_output}")


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
        (["--dynamic", "batch", "--dynamic", "height", "c.pth"], "c.pth|None|batch,height|False"),
        (["--dynamic", "width", "c.pth", "--dynamic=batch"], "c.pth|None|batch,width|False"),
        (["--dynamic", "batch", "--dynamic", "--json", "c.pth"], "c.pth|None|all|True"),
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
    assert isinstance(result.exception, OptionError)
    assert "--dynamic takes batch, height, width or all" in str(result.exception)


@click.command(cls=Command)
@click.argument("model")
@click.argument("images", nargs=-1)
@click.option("-o", "--output", type=click.Path(path_type=Path))
@click.option("--size", type=int)
@click.option("--each", multiple=True)
@runtime_option
@common
def bare(**values: object) -> None:
    """Echo what was understood."""
    click.echo(values)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["m", "--size", "1", "--size", "2"], "--size is given 2 times, and takes one value."),
        (["m", "--size=1", "i", "--size", "1", "--size=3"], "--size is given 3 times"),
        (["m", "-o", "a", "--output", "b"], "--output is given 2 times"),
        (["m", "--cpu", "--cuda"], "--cpu and --cuda exclude each other: give one of them."),
        (["m", "--trt", "--cuda", "--cpu", "--cpu"], "--trt and --cuda and --cpu exclude each other"),
        (["m", "--runtime", "ov", "--runtime", "trt"], "--runtime is given 2 times"),
        (["m", "--runtime", "ov-cpu", "--cpu"], "give one"),
        (["m", "-o", ""], "--output is empty. Give a value or leave it out"),
        (["m", "--output="], "--output is empty"),
        (["m", "--size", ""], "--size is empty"),
        (["m", "--each", "a", "--each", ""], "--each is empty"),
        ([""], "MODEL is empty"),
        (["m", "i", ""], "is empty"),
    ],
)
def test_what_would_be_dropped_is_refused(args: list[str], expected: str) -> None:
    result = CliRunner().invoke(bare, args)
    assert result.exit_code == 2
    assert expected in result.output


@pytest.mark.parametrize(
    "args",
    [
        ["m"],
        ["m", "--each", "a", "--each", "b"],
        ["m", "--json", "--json"],
        ["m", "--cpu", "--cpu"],
        ["--help"],
    ],
)
def test_what_means_one_thing_is_taken(args: list[str]) -> None:
    assert CliRunner().invoke(bare, args).exit_code == 0


@pytest.mark.parametrize(
    ("flag", "where"),
    [
        ("--half", "--precision fp16"),
        ("--half", "deploykit quantize MODEL.onnx --fp16"),
        ("--bf16", "--precision auto"),
        ("--int8", "deploykit quantize MODEL.onnx --int8 --calib DIR"),
        ("--int8=1", ""),
        ("--fp16", "--precision fp16"),
    ],
)
def test_options_of_other_exporters_say_where_that_is(flag: str, where: str) -> None:
    for name, command in commands():
        if flag.partition("=")[0] in {option for parameter in command.params for option in parameter.opts}:
            continue
        result = CliRunner().invoke(command, ["model.pt", flag])
        assert result.exit_code == 2, name
        assert f"There is no {flag.partition('=')[0]}." in result.output
        assert where in " ".join(result.output.split())


def test_every_command_reads_its_line_so() -> None:
    for name, command in commands():
        assert isinstance(command, Command), name


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_single_option_is_refused_twice_and_empty(name: str, command: click.Command) -> None:
    for option in command.params:
        if not isinstance(option, click.Option) or option.is_flag or option.multiple:
            continue
        flag = max(option.opts, key=len)
        twice = CliRunner().invoke(command, [f"{flag}=1", f"{flag}=2"])
        assert (twice.exit_code, f"{flag} is given 2 times" in twice.output) == (2, True), twice.output
        empty = CliRunner().invoke(command, [f"{flag}="])
        assert (empty.exit_code, f"{flag} is empty" in empty.output) == (2, True), empty.output


def test_an_empty_target_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.onnx").write_bytes(tiny_model())
    for line in ("export tiny.pth -o", "build tiny.onnx --runtime ov-cpu -o", "bench tiny.onnx --html"):
        assert cli.main([*line.split(), ""]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
