"""``deploykit bench``: latency and throughput, and what ran where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.commands.shared.completing import bench_runtimes, files
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import (
    common,
    engine_options,
    exact_option,
    existing_path,
    image_size,
    outputs_option,
    positive_numbers,
    short_runtimes,
    strict_option,
    threads_option,
)
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
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME[,NAME]",
    shell_complete=bench_runtimes,
    help="Engines to compare, measured in turns: ort-cpu (default), ort-cuda, trt, ov-cpu, ...; torch, "
    "torch-channels-last and torch-compile run the checkpoint. May be given several times.",
)
@short_runtimes
@click.option(
    "--reference",
    metavar="CKPT",
    shell_complete=files,
    help="Measure the checkpoint in torch too (adds --runtime torch).",
)
@click.option(
    "--batch", "batches", callback=positive_numbers, metavar="N[,N]", help="Batch sizes to measure."
)
@click.option("--imgsz", callback=image_size, metavar="H[,W]", help="Input size of a dynamic model.")
@outputs_option
@threads_option
@click.option(
    "--warmup", type=click.IntRange(0), metavar="N", help="Untimed calls first. Default: until stable."
)
@click.option("--runs", type=click.IntRange(1), metavar="N", help="Timed calls per row.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    metavar="S",
    help="Time spent on each row, instead of --runs. Default: 3.",
)
@engine_options
@strict_option
@exact_option
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
    reference: str | None,
    batches: tuple[int, ...],
    imgsz: tuple[int, int] | None,
    threads: int | None,
    warmup: int | None,
    runs: int | None,
    seconds: float | None,
    strict: bool,
    html: Path | None,
    json_output: bool,
    **engine: Any,
) -> int:
    """Measure the engine call of MODEL: tensors in, tensors out.

    Several engines and batch sizes are timed in turns, so that a change of clock frequency or a busy
    neighbour hits all of them alike.
    """
    if runs is not None and seconds is not None:
        raise click.UsageError("--runs and --seconds exclude each other: give one of them.")
    from deploykit_runtimes.files import write_target
    from deploykit_runtimes.targets import check_target, is_standard_output

    from deploykit.benchmark.html import to_html
    from deploykit.benchmark.run import BenchOptions, bench

    options = BenchOptions(
        runtimes=_names(runtimes, short, reference),
        batches=batches,
        imgsz=imgsz,
        threads=threads,
        warmup=warmup,
        runs=runs,
        seconds=3.0 if seconds is None else seconds,
        strict=strict,
        reference=reference,
        **engine,
    )
    page_only = False
    if html is not None:
        check_target(html)
        page_only = is_standard_output(html)
    if page_only and json_output:
        raise click.UsageError("--json and --html both write to stdout: give a file to --html.")
    with Progress() as report:
        result = bench(model, options, report=report)
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


def _names(runtimes: tuple[str, ...], short: str | None, reference: str | None) -> tuple[str, ...]:
    """Engines in the order of the options; a checkpoint alone is compared with the default engine."""
    from deploykit.benchmark.run import with_reference

    named = [name.strip() for value in runtimes for name in value.split(",") if name.strip()]
    if short:
        named.append(short)
    if not named and not runtimes:
        named.append("ort-cpu")
    return with_reference(tuple(named), reference)
