"""``deploykit verify``: the proof again, on the user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.describe import parity_lines
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import (
    checkpoint_options,
    common,
    engine_options,
    existing_path,
    golden_option,
    outputs_option,
    runtime_option,
    strict_option,
    threads_option,
)
from deploykit.progress import Progress
from deploykit.terminal import echo, echo_json, good, pairs

if TYPE_CHECKING:
    from deploykit_runtimes.engine_options import Goal, Precision

__all__ = ["command"]


@click.command(
    "verify",
    cls=Command,
    examples=(
        "deploykit verify best.pt best.onnx photos/",
        "deploykit verify best.pt best.onnx --runtime ov-cpu --tolerance 0.001",
    ),
)
@click.argument("checkpoint", metavar="CKPT", shell_complete=files)
@click.argument("model", type=existing_path)
@click.argument("images", nargs=-1, shell_complete=files)
@runtime_option
@outputs_option
@threads_option
@engine_options
@strict_option
@click.option(
    "--tolerance", type=click.FloatRange(0, 1, min_open=True), help="Allowed share of an output's scale."
)
@golden_option
@checkpoint_options
@common
def command(
    *,
    checkpoint: str,
    model: Path,
    images: tuple[str, ...],
    runtime: str,
    tolerance: float | None,
    outputs: str | None,
    threads: int | None,
    strict: bool,
    goal: Goal,
    precision: Precision,
    cache: Path | None,
    cuda_graph: bool,
    gpu: int,
    json_output: bool,
    **settings: Any,
) -> None:
    """Compare MODEL with the checkpoint CKPT that it was exported from.

    Noise and a photo are compared always, IMAGES (files, folders or globs) in addition, pre-processed as
    predict does it. The file's own graph runs, node for node. The exit code is 3 when the answers differ
    beyond the tolerance.
    """
    from deploykit_exporters.options import ExportOptions
    from deploykit_exporters.precheck import precheck
    from deploykit_runtimes.builds.model_folder import read_model
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.errors import OptionError, ParityError
    from deploykit_runtimes.onnx.model_file import looks_like_onnx
    from deploykit_runtimes.pixels.listing import list_images

    options = ExportOptions(**settings)
    engine = EngineOptions(
        threads=threads,
        strict=strict,
        goal=goal,
        precision=precision,
        cache=cache,
        cuda_graph=cuda_graph,
        gpu=gpu,
        outputs=outputs,
    )
    if looks_like_onnx(Path(checkpoint)):
        raise OptionError(
            f"verify wants the checkpoint first, and {checkpoint} is a model.",
            hint="deploykit verify CKPT MODEL [IMAGES]",
        )
    precheck(checkpoint, options, writes=False)
    read_model(model)
    paths = list_images(images)
    with Progress() as report:
        report("Loading torch")
        from deploykit_exporters.verify import verify

        try:
            result = verify(
                checkpoint,
                model,
                paths,
                options=options,
                runtime=runtime,
                engine=engine,
                tolerance=tolerance,
                report=report,
                count=report.count,
            )
        except ParityError as error:
            if json_output:
                failure = {
                    "checkpoint": checkpoint,
                    "model": model,
                    "passed": False,
                    "problem": error.problem,
                }
                echo_json(failure)
            raise
    if json_output:
        echo_json(result.to_dict())
        return
    echo(f"{good('passed')} {model} gives the answers of {checkpoint}")
    rows = [
        ("proof", parity_lines(result.parity, result.task)),
        ("images", [str(path) for path in result.images]),
    ]
    echo(*pairs(rows))
