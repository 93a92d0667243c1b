"""``deploykit build``: an engine ahead of time, for machines that should not build one themselves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from deploykit_runtimes.build_options import BuildOptions, BuildReport
from deploykit_runtimes.devices import RuntimeOptions

from deploykit.commands.shared.completing import buildable
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, existing_file
from deploykit.progress import Progress
from deploykit.terminal import echo, echo_json, good, is_terminal, pairs, seconds, size

if TYPE_CHECKING:
    from deploykit_runtimes.build_options import BuildResult

__all__ = ["command"]

_EVERY = 10.0  # seconds


@click.command(
    "build",
    cls=Command,
    short_help="Build an engine ahead of time.",
    examples=(
        "deploykit build best.onnx --runtime trt",
        "deploykit build best.onnx --runtime trt-rtx --compute-capability 8.6,8.9 -o engines",
    ),
)
@click.argument("model", type=existing_file)
@click.option(
    "--runtime", metavar="NAME", shell_complete=buildable, help="What to build for: trt, trt-rtx, ..."
)
@click_options(RuntimeOptions, "device")
@click_options(BuildOptions)
@common
def command(*, model: Path, json_output: bool, **settings: Any) -> None:
    """Compile MODEL for a runtime; `bench` and `predict` open the result in its place.

    An engine that still fits is kept. The file beside it (.json) says what it was built from and for; an
    engine that no longer fits is rebuilt when it is opened, and the reason is printed.
    """
    from deploykit.operations import build

    if settings["runtime"] is None and settings["device"] is None:
        raise click.UsageError("Missing option '--runtime', or --device.")
    with Progress() as report:
        result = build(model, report=BuildReport(step=report, note=_Notes(report)), **settings)
    if json_output:
        echo_json(result.to_dict())
        return
    echo(*result_lines(result))


class _Notes:
    """How far a build is: on a terminal in the moving line, elsewhere in an occasional line."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines = not is_terminal(err=True)
        self._next = time.monotonic() + _EVERY

    def __call__(self, text: str) -> None:
        self._progress.note(text)
        if self._lines and time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            self._progress.tell(text)


def result_lines(result: BuildResult) -> list[str]:
    """What was built, for which target, and what to try next."""
    done = "kept, it fits:" if result.reused else "wrote"
    rows = [
        *result.facts.items(),
        ("time", "" if result.reused else seconds(result.seconds)),
        ("self-test", result.tested.removeprefix("self-test ")),
    ]
    command = f"deploykit bench {result.path} --runtime {result.runtime}"
    return [
        *pairs(rows),
        f"{good(done)} {result.built} ({size(result.size_bytes)})",
        *pairs([("next", command)], indent=0),
    ]
