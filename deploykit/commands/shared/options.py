"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from deploykit_runtimes.devices import RuntimeOptions
from deploykit_runtimes.engine_options import EngineOptions

from deploykit.commands.shared.declared import click_options

__all__ = ["common", "engine_options", "existing_file", "existing_path", "runtime_option", "short_runtimes"]

_F = TypeVar("_F", bound=Callable[..., Any])

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
existing_path = click.Path(exists=True, path_type=Path)


def common(command: _F) -> _F:
    """``--json`` and ``--debug``, which every command takes."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    as_json = click.option(
        "--json", "json_output", is_flag=True, help="Print one JSON document on stdout, progress on stderr."
    )
    return as_json(debug(command))


def short_runtimes(command: _F) -> _F:
    """``--cpu``, ``--cuda`` and ``--trt``, as ``short``: the name of a runtime, or None."""
    names = {"--cpu": "ort-cpu", "--cuda": "ort-cuda", "--trt": "trt"}
    for flag, name in reversed(names.items()):
        command = click.option(flag, "short", flag_value=name, help=f"Short for --runtime {name}.")(command)
    return command


def runtime_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--runtime NAME``, its short forms, and ``--device``; the name is resolved when the model is
    opened.
    """

    @wraps(command)
    def with_runtime(*args: Any, runtime: str | None, short: str | None, **options: Any) -> Any:
        if runtime and short and runtime != short:
            raise click.UsageError(f"--runtime {runtime} and the short form of --runtime {short}: give one.")
        return command(*args, runtime=runtime or short, **options)

    named = click_options(RuntimeOptions, "runtime")
    return named(short_runtimes(click_options(RuntimeOptions, "device")(with_runtime)))


def engine_options(*without: str) -> Callable[[_F], _F]:
    """How a model is opened: the options of ``EngineOptions``, without some."""
    return click_options(EngineOptions, without=without)
