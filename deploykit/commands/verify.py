"""``deploykit verify``: the proof again, on the user's own images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from deploykit_exporters.options import BisectOptions, CheckpointOptions, ExportOptions
from deploykit_runtimes.errors import ParityError

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.describe import parity_lines
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, engine_options, existing_path, runtime_option
from deploykit.progress import Progress
from deploykit.terminal import bad, echo, echo_json, good, pairs, paragraph

if TYPE_CHECKING:
    from deploykit_exporters.bisect.result import BisectResult, Layer

__all__ = ["command"]


@click.command(
    "verify",
    cls=Command,
    examples=(
        "deploykit verify best.pt best.onnx photos/",
        "deploykit verify best.pt best.onnx --runtime ov-cpu --bisect",
    ),
)
@click.argument("checkpoint", metavar="CKPT", shell_complete=files)
@click.argument("model", type=existing_path)
@click.argument("images", nargs=-1, shell_complete=files)
@runtime_option
@engine_options("exact")
@click.option("--bisect", "bisects", is_flag=True, help="Find the first layer at which the engine differs.")
@click_options(BisectOptions)
@click_options(ExportOptions, "golden")
@click_options(CheckpointOptions)
@common
def command(
    *,
    checkpoint: str,
    model: Path,
    images: tuple[str, ...],
    bisects: bool,
    json_output: bool,
    **settings: Any,
) -> int:
    """Compare MODEL with the checkpoint CKPT that it was exported from.

    Noise and a photo are compared always, IMAGES (files, folders or globs) in addition, pre-processed as
    predict does it. The file's own graph runs, node for node. The exit code is 3 when the answers differ
    beyond the tolerance.

    --bisect cuts the graph, compares at the cut and halves, down to the first layer at which the engine
    leaves the checkpoint. The exit code is 3 when there is one.
    """
    if bisects:
        return _bisect(checkpoint, model, images, json_output=json_output, **settings)
    if click.get_current_context().get_parameter_source("against") is not ParameterSource.DEFAULT:
        raise click.UsageError("--against says what --bisect compares with: give both.")
    from deploykit.comparing import verify

    settings.pop("against")
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
        return 0
    echo(f"{good('passed')} {model} gives the answers of {checkpoint}")
    rows = [
        ("proof", parity_lines(result.parity, result.task)),
        ("images", [str(path) for path in result.images]),
    ]
    echo(*pairs(rows))
    return 0


def _bisect(
    checkpoint: str, model: Path, images: tuple[str, ...], *, json_output: bool, **settings: Any
) -> int:
    from deploykit.comparing import bisect

    if settings.pop("golden", None) is not None:
        raise click.UsageError("--golden compares answers, and --bisect layers: give one of them.")
    with Progress() as report:
        result = bisect(checkpoint, model, images, report=report, **settings)
    if json_output:
        echo_json(result.to_dict())
    else:
        echo(*_found(result))
    return 0 if result.layer is None else ParityError.exit_code


def _found(result: BisectResult) -> Iterator[str]:
    layer = result.layer
    if layer is None:
        yield f"{good('no layer differs')} in {result.engine} beyond {result.tolerance:.0e}"
    else:
        yield f"{bad('differs')} from layer {layer.place} of {layer.of} on: {layer.name} ({layer.operator})"
    yield from paragraph(result.note, indent=2) if result.note else ()
    rows: list[tuple[str, str | list[str]]] = [
        ("model", str(result.model)),
        ("engine", result.engine),
        ("reference", result.reference),
        ("input", result.case),
        ("compared at", f"{result.compared} cuts"),
    ]
    if layer is not None:
        rows += _layer(layer, result)
    yield from pairs([*rows, ("outputs", f"off by {result.off:.1e}")])


def _layer(layer: Layer, result: BisectResult) -> Iterator[tuple[str, str | list[str]]]:
    yield (
        "reads",
        [
            f"{each.name} {each.dtype} [{', '.join(map(str, each.shape))}], "
            f"{each.low:.3g} .. {each.high:.3g}, off by {each.off:.1e}"
            for each in layer.inputs
        ],
    )
    yield (
        "weights",
        [
            f"{each.name} is not the checkpoint's in {each.differ} of {each.values} values, by up to "
            f"{each.off:.2g}"
            for each in layer.weights
        ],
    )
    yield "before it", f"off by {layer.before:.1e}"
    yield "after it", f"off by {layer.after:.1e} (allowed {result.tolerance:.0e}), at {layer.output}"
    alone = "the engine does not run it alone" if layer.alone is None else f"off by {layer.alone:.1e}"
    yield "by itself", f"{alone}: {_WHY[layer.why]}"


_WHY = {
    "alone": "this layer is wrong",
    "fused": "it is wrong only together with the layers before it, which the engine computes as one",
    "gradual": "no single layer is wrong, the difference grows over many",
}
