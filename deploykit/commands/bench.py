"""``deploykit bench``: latency and throughput, and what ran where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from deploykit_runtimes.devices import RuntimeOptions

from deploykit.benchmark.options import BenchOptions
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, existing_path, short_runtimes
from deploykit.progress import Progress
from deploykit.terminal import echo, echo_json, pairs, paragraph, strong, warning

if TYPE_CHECKING:
    from deploykit.benchmark.report import BenchReport

__all__ = ["command"]


@click.command(
    "bench",
    cls=Command,
    short_help="Measure latency and throughput.",
    examples=(
        "deploykit bench best.onnx --batch 1,8 --html bench.html",
        "deploykit bench best.onnx --runtime ort-cpu,ov-cpu --reference best.pt",
    ),
)
@click.argument("model", type=existing_path)
@click_options(BenchOptions, "runtimes")
@short_runtimes
@click_options(RuntimeOptions, "device")
@click_options(BenchOptions, first=("reference", "batches", "imgsz"), without=("runtimes",))
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with histograms.",
)
@common
def command(
    *,
    model: Path,
    runtimes: tuple[str, ...],
    short: str | None,
    device: str | None,
    html: Path | None,
    json_output: bool,
    **settings: Any,
) -> int:
    """Measure the engine call of MODEL: tensors in, tensors out.

    Several engines and batch sizes are timed in turns, so that a change of clock frequency or a busy
    neighbour hits all of them alike.
    """
    context = click.get_current_context()
    if settings["runs"] is not None and context.get_parameter_source("seconds") != ParameterSource.DEFAULT:
        raise click.UsageError("--runs and --seconds exclude each other: give one of them.")
    from deploykit_runtimes.files import write_target
    from deploykit_runtimes.onnx.model_files import named_beside, read_if_model
    from deploykit_runtimes.targets import check_target, is_standard_output

    from deploykit.api import bench
    from deploykit.benchmark.html import to_html

    if runtimes or short:
        settings["runtimes"] = (*runtimes, *([short] if short else []))
    page_only = False
    if html is not None:
        file = read_if_model(model)
        check_target(html, reads=[model, *(named_beside(model, file) if file else ())])
        page_only = is_standard_output(html)
    if page_only and json_output:
        raise click.UsageError("--json and --html both write to stdout: give a file to --html.")
    with Progress() as report:
        result = bench(model, device=device, report=report, **settings)
    if json_output:
        echo_json(result.to_dict())
    else:
        echo(*_lines(result), err=page_only)
    if html is not None:
        # Last, so that a full disk cannot take the measurement along.
        write_target(html, to_html(result))
        echo(f"wrote {html}", err=True)
    return 0


def _lines(result: BenchReport) -> list[str]:
    cpu = result.environment.cpu
    machine = f"{cpu.model}, {cpu.usable} of {cpu.cores} cores usable"
    notes = [line for text in result.warnings() for line in paragraph(f"{warning('note')} {text}", indent=2)]
    return [strong(result.title), *result.table(), *pairs([("machine", machine)]), *notes]
