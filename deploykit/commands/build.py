"""``deploykit build``: an engine ahead of time, for machines that should not build one themselves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.commands.shared.completing import buildable
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, existing_file, gpu_option
from deploykit.progress import Progress
from deploykit.terminal import echo, echo_json, good, is_terminal, pairs, seconds, size

if TYPE_CHECKING:
    from deploykit_runtimes.build_options import BuildResult

__all__ = ["command"]

_EVERY = 10.0  # seconds


def _capabilities(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """``8.6,8.9`` as a tuple; what exists is known to the engine."""
    if value is None:
        return ()
    parts = tuple(part.strip() for part in value.split(","))
    if not all(
        major.isdecimal() and minor.isdecimal() for major, _, minor in (p.partition(".") for p in parts)
    ):
        raise click.BadParameter(f"wanted compute capabilities such as 8.6,8.9, found {value!r}.")
    return parts


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
    "--runtime",
    required=True,
    metavar="NAME",
    shell_complete=buildable,
    help="What to build for: trt, trt-rtx, ...",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="ENGINE|DIR",
    help="File to write, or a folder for engine and model. Default: next to the model.",
)
@click.option(
    "--shapes",
    multiple=True,
    metavar="NAME:MIN,OPT,MAX",
    help="Optimisation profile, for instance images:1x3x224x224,8x3x224x224,32x3x640x640. Once per input; "
    "repeat an input for another profile. Default: the ranges the model declares.",
)
@click.option(
    "--precision",
    type=click.Choice(("model", "auto")),
    default="model",
    show_default=True,
    help="auto allows TF32 for FP32 layers.",
)
@click.option(
    "--compute-capability",
    "compute_capabilities",
    callback=_capabilities,
    metavar="X.Y[,X.Y]",
    help="GPUs to build for; they need not be present (trt-rtx). Default: 8.0 and later.",
)
@click.option(
    "--compatibility",
    type=click.Choice(("none", "ampere+", "same-capability")),
    default="none",
    show_default=True,
    help="Which other GPUs the engine must run on (trt).",
)
@click.option("--version-compatible", is_flag=True, help="Let later TensorRT versions load the engine.")
@click.option(
    "--strip-weights", is_flag=True, help="Leave the weights out; they are restored from the model."
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    metavar="N",
    help="Effort of the search for the fastest kernels, 0 to 5.",
)
@click.option(
    "--timing-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File of kernel timings, read and updated: later builds are faster.",
)
@gpu_option
@click.option("--force", is_flag=True, help="Build even if a matching engine already exists.")
@common
def command(*, model: Path, runtime: str, json_output: bool, **options: Any) -> None:
    """Compile MODEL for a runtime, into what `bench` and `predict` open in its place.

    An engine that fits is kept as it is. The file beside it (.json) says what it was built from and
    for; an engine that fits no longer is built again when it is opened, and the reason told.
    """
    from deploykit_runtimes.build_options import BuildOptions, BuildReport
    from deploykit_runtimes.builds.build import build_engine

    chosen = BuildOptions(**options)
    with Progress() as report:
        told = BuildReport(step=report, note=_Notes(report))
        result = build_engine(model, runtime=runtime, options=chosen, report=told)
    if json_output:
        echo_json(result.to_dict())
        return
    echo(*result_lines(result))


class _Notes:
    """How far a build is: in the moving line of a terminal, elsewhere in a line now and then."""

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
    """What was built, for whom, and what to try next."""
    done = "kept, it fits:" if result.reused else "wrote"
    rows = [*result.facts.items(), ("time", "" if result.reused else seconds(result.seconds))]
    command = f"deploykit bench {result.path} --runtime {result.runtime}"
    return [
        *pairs(rows),
        f"{good(done)} {result.built} ({size(result.size_bytes)})",
        *pairs([("next", command)], indent=0),
    ]
