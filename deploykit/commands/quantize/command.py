"""``deploykit quantize``: a model file in a lower precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, existing_file
from deploykit.progress import Progress
from deploykit.quantization.options import QuantizeOptions
from deploykit.terminal import echo, echo_json, good, name, pairs, seconds, size, strong

if TYPE_CHECKING:
    from deploykit_exporters.precision.file import Fp16File

__all__ = ["command", "fp16_rows"]


@click.command(
    "quantize",
    cls=Command,
    short_help="Write a model file in a lower precision, and prove it.",
    examples=(
        "deploykit quantize best.onnx --fp16",
        "deploykit quantize best.onnx --fp16 --calib photos/ -o best-half.onnx",
    ),
)
@click.argument("model", type=existing_file)
@click_options(QuantizeOptions)
@common
def command(*, model: Path, json_output: bool, **settings: Any) -> None:
    """Write MODEL, an .onnx file in float32, in a lower precision.

    Inputs and outputs keep their types. Nothing is written when the answers leave their budget (exit code 3).
    """
    from deploykit.api import quantize

    with Progress() as report:
        result = quantize(model, report=report, **settings)
    if json_output:
        echo_json(result.to_dict())
        return
    echo(*_lines(result))


def _lines(result: Fp16File) -> list[str]:
    told = [
        ("next", f"deploykit selftest {result.path}"),
        ("", f"deploykit build {result.path} --runtime trt"),
    ]
    return [
        strong(f"{result.spec.variant} in float16"),
        *pairs(fp16_rows(result)),
        "",
        f"{good('wrote')} {result.path} ({size(result.size_bytes)}, float32 {size(result.source_bytes)})",
        *pairs(told, indent=0),
    ]


def fp16_rows(result: Fp16File) -> list[tuple[str, str | list[str]]]:
    """What was converted, what was not, and how far the answers are off."""
    graph, measured = result.graph, result.calibration
    products, all_products = graph.products
    agreed = (
        f"; {graph.found.agreed} of {graph.found.answers} best classes agree" if graph.found.answers else ""
    )
    return [
        ("measured on", f"{measured.said}, {measured.images} images"),
        (
            "float16",
            f"{products} of {all_products} convolutions and products, {graph.half} of {graph.able} nodes, "
            f"{graph.casts} casts",
        ),
        ("float32", [name(line) for line in graph.kept]),
        ("proof", f"rounded after every node, {graph.found.where}{agreed}"),
        ("notes", list(result.notes)),
        ("time", seconds(result.seconds)),
    ]
