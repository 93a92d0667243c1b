"""``deploykit export``: a checkpoint becomes one proven ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from deploykit_exporters.options import ExportOptions

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.describe import (
    axis_ranges,
    class_sample,
    golden_cases,
    model_title,
    parity_lines,
    precision_lines,
)
from deploykit.commands.shared.line import DynamicCommand
from deploykit.commands.shared.options import common
from deploykit.progress import Progress
from deploykit.terminal import echo, echo_json, good, name, pairs, seconds, size, strong

if TYPE_CHECKING:
    from deploykit_exporters.export import ExportResult

__all__ = ["command"]


@click.command(
    "export",
    cls=DynamicCommand,
    short_help="Turn a checkpoint into one proven ONNX file.",
    examples=(
        "deploykit export best.pt --dynamic",
        "deploykit export timm:vit_base_patch16_224 -o vit.onnx --preprocess --postprocess",
    ),
)
@click.argument("checkpoint", metavar="CKPT", shell_complete=files)
@click_options(ExportOptions, first=("output", "dynamic", "batch", "opset"))
@common
def command(*, checkpoint: str, json_output: bool, **settings: Any) -> None:
    """Export CKPT to one ONNX file that gives the same answers, and prove it.

    CKPT is a file (.pth, .pt, .ckpt, .bin, .safetensors, .h5), a Hugging Face folder, or a name such as
    timm:vit_base_patch16_224 or ultralytics:yolo11n.pt. What it holds is recognised; options override.
    Nothing is written when the ONNX file differs from the checkpoint beyond tolerance (exit code 3).
    """
    from deploykit_runtimes.targets import is_standard_output

    from deploykit.api import export

    to_stdout = settings["output"] is not None and is_standard_output(settings["output"])
    if to_stdout and json_output:
        raise click.UsageError("--json and -o both write to stdout: give a file to -o.")
    with Progress() as report:
        result = export(checkpoint, report=report, **settings)
    if json_output:
        echo_json(result.to_dict())
        return
    echo(*result_lines(result, checkpoint), err=to_stdout)


def result_lines(result: ExportResult, checkpoint: str) -> list[str]:
    """What was recognised, assumed, proven and written, and what to try next."""
    from deploykit_runtimes.targets import is_stream

    spec = result.spec
    axes_text = axis_ranges(spec.input.dynamic)
    rows: list[tuple[str, str | list[str]]] = [
        ("recognised", list(spec.recognised)),
        ("assumed", list(spec.assumed)),
        ("notes", list(result.notes)),
        ("classes", class_sample(spec)),
        (
            "input",
            f"{name(spec.input.name)} {spec.input.dtype} [{', '.join(map(str, spec.input.shape))}]"
            + (f", {axes_text}" if axes_text else ""),
        ),
        ("output", f"{', '.join(map(name, spec.output.names))} ({spec.output.layout})"),
        ("proof", parity_lines(spec.parity, spec.task)),
        ("precision", precision_lines(spec.precision)),
        ("golden cases", golden_cases(spec)),
        (
            "graph",
            f"{result.graph.nodes} nodes, {result.graph.parameters:,} parameters, opset {result.graph.opset}",
        ),
        ("time", ", ".join(f"{step} {seconds(value)}" for step, value in result.seconds.items())),
    ]
    next_steps: str | list[str] = [f"deploykit predict {result.path} IMAGE", f"deploykit bench {result.path}"]
    if spec.task == "features":
        next_steps = [f"deploykit inspect {result.path}", f"deploykit bench {result.path}"]
    told: list[tuple[str, str | list[str]]] = [
        ("next", next_steps),
        ("", f"deploykit verify {checkpoint} {result.path} IMAGES"),
    ]
    return [
        strong(model_title(spec)),
        *pairs(rows),
        "",
        f"{good('wrote')} {result.path} ({size(result.size_bytes)})",
        *pairs([] if is_stream(result.path) else told, indent=0),
    ]
