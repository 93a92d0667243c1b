"""``deploykit verify``: the proof again, on the user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from deploykit_exporters.options import CheckpointOptions, ExportOptions, VerifyOptions
from deploykit_runtimes.errors import ParityError

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.describe import parity_lines
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, engine_options, existing_path, runtime_option
from deploykit.progress import Progress
from deploykit.terminal import echo, echo_json, good, pairs

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
@engine_options("exact")
@click_options(VerifyOptions)
@click_options(ExportOptions, "golden")
@click_options(CheckpointOptions)
@common
def command(
    *, checkpoint: str, model: Path, images: tuple[str, ...], json_output: bool, **settings: Any
) -> None:
    """Compare MODEL with the checkpoint CKPT that it was exported from.

    Noise and a photo are compared always, IMAGES (files, folders or globs) in addition, pre-processed as
    predict does it. The file's own graph runs, node for node. The exit code is 3 when the answers differ
    beyond the tolerance.
    """
    from deploykit.api import verify

    try:
        with Progress() as report:
            result = verify(checkpoint, model, images, report=report, **settings)
    except ParityError as error:
        if json_output:
            sides = {"checkpoint": checkpoint, "model": model}
            echo_json({**sides, "passed": False, "problem": error.problem})
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
