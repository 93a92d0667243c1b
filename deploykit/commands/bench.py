"""``deploykit bench``: latency and throughput, and what ran where."""

from __future__ import annotations

from pathlib import Path

import click

from deploykit.commands.options import common, existing_file, image_size, positive_numbers, threads_option
from deploykit.progress import Progress
from deploykit.terminal import as_json, pairs, strong, warning

__all__ = ["command"]


@click.command("bench", short_help="Measure latency and throughput.")
@click.argument("model", type=existing_file)
@click.option(
    "--runtime",
    "runtimes",
    default="ort-cpu",
    show_default=True,
    metavar="NAME[,NAME]",
    help="Engines to compare, interleaved in one run.",
)
@click.option(
    "--batch", "batches", callback=positive_numbers, metavar="N[,N]", help="Batch sizes to measure."
)
@click.option("--imgsz", callback=image_size, metavar="H[,W]", help="Input size of a dynamic model.")
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
@click.option("--strict", is_flag=True, help="Refuse a model of which a part runs elsewhere than asked for.")
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
    runtimes: str,
    batches: tuple[int, ...],
    imgsz: tuple[int, int] | None,
    threads: int | None,
    warmup: int | None,
    runs: int | None,
    seconds: float | None,
    strict: bool,
    html: Path | None,
    json_output: bool,
) -> int:
    """Measure the engine call of MODEL: tensors in, tensors out.

    Several engines and batch sizes are timed in turns, so that a change of clock frequency or a busy
    neighbour hits all of them alike.
    """
    if runs is not None and seconds is not None:
        raise click.UsageError("--runs and --seconds exclude each other: give one of them.")
    from deploykit_runtimes.files import atomic_path

    from deploykit.benchmark.html import to_html
    from deploykit.benchmark.run import BenchOptions, bench

    options = BenchOptions(
        runtimes=tuple(name.strip() for name in runtimes.split(",") if name.strip()),
        batches=batches,
        imgsz=imgsz,
        threads=threads,
        warmup=warmup,
        runs=runs,
        seconds=3.0 if seconds is None else seconds,
        strict=strict,
    )
    with Progress() as report:
        result = bench(model, options, report=report)
    if html is not None:
        with atomic_path(html) as draft:
            draft.write_text(to_html(result), encoding="utf-8")
    if json_output:
        click.echo(as_json(result.to_dict()))
        return 0
    click.echo(strong(result.title))
    for line in result.table():
        click.echo(line)
    cpu = result.environment.cpu
    facts = [("machine", f"{cpu.model}, {cpu.usable} of {cpu.cores} cores usable")]
    if html is not None:
        facts.append(("page", str(html)))
    for line in pairs(facts):
        click.echo(line)
    for text in result.warnings():
        click.echo(f"  {warning('note')} {text}")
    return 0
