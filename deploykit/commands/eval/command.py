"""``deploykit eval``: accuracy on labelled pictures, and what differs between models."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from deploykit_runtimes.devices import RuntimeOptions
from deploykit_runtimes.errors import InputError, OptionError

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, short_runtimes
from deploykit.evaluation.options import EvalOptions
from deploykit.progress import Progress
from deploykit.terminal import bad, echo, echo_json, problem_lines

if TYPE_CHECKING:
    from deploykit.evaluation.report import EvalReport

__all__ = ["command"]

_FIRST = ("conf", "iou", "max_det", "rect", "imgsz", "limit", "seed", "split", "matching", "labels")
_SHOWN = 20
"""Pictures that cannot be read are named up to here, and counted beyond."""


@click.command(
    "eval",
    cls=Command,
    short_help="Measure accuracy on labelled pictures, and compare models.",
    examples=(
        "deploykit eval best.onnx data.yaml",
        "deploykit eval best.pt best.onnx data.yaml --html eval.html --save differences",
    ),
)
@click.argument("paths", metavar="MODEL... DATA", nargs=-1, required=True, shell_complete=files)
@click_options(EvalOptions, "runtimes")
@short_runtimes
@click_options(RuntimeOptions, "device")
@click_options(EvalOptions, first=_FIRST, without=("runtimes",))
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw the pictures on which models differ, or the worst mistakes of one.",
)
@click.option(
    "--pictures",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    metavar="N",
    help="Maximum number of pictures in --html and --save.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with curves, the confusion matrix and the worst mistakes.",
)
@common
def command(
    *,
    paths: tuple[str, ...],
    runtimes: tuple[str, ...],
    short: str | None,
    device: str | None,
    save: Path | None,
    pictures: int,
    html: Path | None,
    json_output: bool,
    **settings: Any,
) -> int:
    """Measure each MODEL on the labelled pictures of DATA, and compare the others with the first.

    A MODEL is a model file, or a checkpoint, which runs in torch. DATA is a folder of class folders, a list
    of pictures and classes (.csv, .txt), Ultralytics' data.yaml, or COCO's JSON.

    A picture that cannot be read is reported, and the exit code is then 8. The same
    command resumes an interrupted run.
    """
    if len(paths) < 2:
        raise click.UsageError("Wanted MODEL and DATA, found one of them.")
    from deploykit_runtimes.files import atomic_path, room_for
    from deploykit_runtimes.targets import check_folder, check_target, is_standard_output

    from deploykit.api import evaluate
    from deploykit.evaluation.html import to_html
    from deploykit.evaluation.mistakes import drawn_differences, drawn_mistakes, save_differences

    if runtimes or short:
        settings["runtimes"] = (*runtimes, *([short] if short else []))
    if html is not None:
        check_target(html)
        if is_standard_output(html):
            raise OptionError("--html writes a file, and stdout has the numbers.", hint="Name a file.")
    if save is not None:
        check_folder(save / "picture.png")
    with Progress() as report, ExitStack() as finished:  # an interruption leaves neither page nor pictures
        result = evaluate(paths[:-1], paths[-1], device=device, report=report, **settings)
        if html is not None:
            report("Drawing the worst mistakes")
            differing = [drawn_differences(result, n, pictures) for n in range(len(result.comparisons))]
            page = to_html(result, drawn_mistakes(result, pictures), differing).encode()
            draft = finished.enter_context(atomic_path(html))
            with room_for(len(page)):
                draft.write_bytes(page)
        saved = save_differences(result, save, pictures) if save is not None else []
    if json_output:
        echo_json(result.to_dict())
    else:
        echo(*result.lines())
    _tell_unread(result)
    for place in [*([html] if html else []), *([f"{len(saved)} pictures to {save}"] if save else [])]:
        echo(f"wrote {place}", err=True)
    return InputError.exit_code if result.unread else 0


def _tell_unread(result: EvalReport) -> None:
    told = {each.image: each for model in result.models for each in model.unread}
    for each in list(told.values())[:_SHOWN]:
        echo(*problem_lines(each.problem, each.hint), err=True)
    if told:
        more = f", {len(told) - _SHOWN} of them not named here" if len(told) > _SHOWN else ""
        echo(f"{bad(str(len(told)))} of {result.images} pictures could not be read{more}", err=True)
