"""``deploykit quantize``: a model file in a lower precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from deploykit_runtimes.errors import OptionError, ParityError

from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, existing_file
from deploykit.progress import Progress
from deploykit.quantization.options import QuantizeOptions
from deploykit.terminal import echo, echo_json, good, name, pairs, problem_lines, seconds, size, strong

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploykit_exporters.precision.file import Fp16File

    from deploykit.quantization.int8.report import Int8Report

__all__ = ["command", "fp16_rows"]

_FIRST = ("fp16", "int8", "calib", "output", "budget", "metric", "target")
_NOT_HERE = ("precision", "strict", "exact", "cuda_graph", "goal")
"""Of the ways to open a model: candidates are timed as an application runs them."""
_SLOWER = "Stay with the float32 file, or name another engine with --target; --keep-slower writes it anyway."


@click.command(
    "quantize",
    cls=Command,
    short_help="Write a model file in a lower precision, and prove it.",
    examples=(
        "deploykit quantize best.onnx --fp16 --calib photos/",
        "deploykit quantize best.onnx --int8 --calib data.yaml --budget 1% --html int8.html",
    ),
)
@click.argument("model", type=existing_file)
@click_options(QuantizeOptions, first=_FIRST, without=_NOT_HERE)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with every candidate of --int8.",
)
@common
def command(*, model: Path, html: Path | None, json_output: bool, **settings: Any) -> int:
    """Write MODEL, an .onnx file in float32, in a lower precision.

    Inputs and outputs keep their types. Nothing is written if the answers exceed their budget, or if 8
    bits are no faster than float32 on this machine (exit code 3). The same command resumes an interrupted
    search.
    """
    from deploykit_runtimes.files import write_target
    from deploykit_runtimes.targets import check_target, is_standard_output

    from deploykit.api import quantize

    if html is not None:
        check_target(html)
        if not settings["int8"]:
            raise OptionError("--html is for --int8.", hint="Leave it out.")
        if is_standard_output(html):
            raise OptionError("--html writes a file, and stdout has the numbers.", hint="Name a file.")
    with Progress() as report:
        result = quantize(model, report=report, **settings)
    if settings["int8"]:
        return _report_int8(cast("Int8Report", result), html, write_target, json_output=json_output)
    result = cast("Fp16File", result)
    if json_output:
        echo_json(result.to_dict())
    else:
        echo(*_lines(result))
    return 0


def _report_int8(
    result: Int8Report, html: Path | None, write: Callable[[Path, str], object], *, json_output: bool
) -> int:
    if html is not None:
        from deploykit.quantization.int8.html import to_html

        write(html, to_html(result))
    if json_output:
        echo_json(result.to_dict())
    else:
        echo(*result.lines())
    if html is not None:
        echo(f"wrote {html}", err=True)
    if result.output is None:
        echo(*problem_lines(f"{result.verdict}. Nothing was written.", _SLOWER), err=True)
        return ParityError.exit_code
    if not json_output:
        told = f"{size(result.output.stat().st_size)}, float32 {size(result.float32_bytes)}"
        echo("", f"{good('wrote')} {result.output} ({told})")
        engine = f" --runtime {result.deploy_with}" if result.deploy_with else ""
        echo(*pairs([("next", f"deploykit selftest {result.output}{engine}")], indent=0))
    return 0


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
