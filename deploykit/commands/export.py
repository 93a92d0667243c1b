"""``deploykit export``: a checkpoint becomes one proven ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.commands.shared.completing import axis_names, files
from deploykit.commands.shared.describe import axis_ranges, class_sample, model_title, parity_lines
from deploykit.commands.shared.line import AXES, DynamicCommand
from deploykit.commands.shared.options import (
    axes,
    checkpoint_options,
    common,
    golden_option,
)
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
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="OUT.onnx",
    help="File to write. Default: next to the checkpoint.",
)
@click.option(
    "--dynamic",
    multiple=True,
    callback=axes,
    metavar="[AXES]",
    shell_complete=axis_names,
    help=f"Axes to make dynamic, joined by commas: {','.join(AXES)}. Without a value: all that the model "
    f"allows.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 4096),
    default=1,
    show_default=True,
    metavar="N",
    help="Batch size if it is fixed.",
)
@click.option("--opset", type=click.IntRange(18, 23), metavar="N", help="ONNX operator set.")
@checkpoint_options
@click.option("--preprocess", is_flag=True, help="Take raw uint8 images [N,H,W,3] of any size.")
@click.option("--postprocess", is_flag=True, help="Return final answers: classes, or boxes after NMS.")
@click.option("--top-k", type=click.IntRange(1), metavar="N", help="Classes returned by --postprocess.")
@click.option("--conf", type=click.FloatRange(0, 1), metavar="P", help="Lowest score of a detection to keep.")
@click.option(
    "--iou", type=click.FloatRange(0, 1), metavar="P", help="Overlap above which a box is suppressed."
)
@click.option(
    "--max-det", type=click.IntRange(1), metavar="N", help="Maximum number of detections per image."
)
@click.option("--class-agnostic", is_flag=True, help="Let better boxes of any class suppress a box.")
@click.option("--runtime-thresholds", is_flag=True, help="Make conf and iou inputs of the graph.")
@click.option("--masks", is_flag=True, help="Return segmentation masks at the size of the image.")
@click.option("--no-simplify", is_flag=True, help="Leave the graph as the exporter wrote it.")
@golden_option
@click.option("--no-witness", is_flag=True, help="Do not compare with the training library's own model.")
@click.option(
    "--exporter",
    type=click.Choice(["torchscript", "dynamo"]),
    help="Default: the one that measured better for the family.",
)
@common
def command(
    *,
    checkpoint: str,
    no_simplify: bool,
    no_witness: bool,
    json_output: bool,
    **settings: Any,
) -> None:
    """Export CKPT to one ONNX file that gives the same answers, and prove it.

    CKPT is a file (.pth, .pt, .ckpt, .bin, .safetensors, .h5), a Hugging Face folder, or a name such as
    timm:vit_base_patch16_224 or ultralytics:yolo11n.pt. What it holds is recognised; options override.
    Nothing is written when the ONNX file differs from the checkpoint beyond tolerance (exit code 3).
    """
    from deploykit_exporters.options import ExportOptions
    from deploykit_exporters.precheck import precheck
    from deploykit_runtimes.targets import is_standard_output

    options = ExportOptions(simplify=not no_simplify, witness=not no_witness, **settings)
    precheck(checkpoint, options)
    to_stdout = options.output is not None and is_standard_output(options.output)
    if to_stdout and json_output:
        raise click.UsageError("--json and -o both write to stdout: give a file to -o.")
    with Progress() as report:
        report("Loading torch")
        from deploykit_exporters.export import export

        result = export(checkpoint, options, report=report)
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
