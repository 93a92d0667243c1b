"""``deploykit inspect``: what a checkpoint or a model file holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from deploykit_exporters.options import CheckpointOptions
from deploykit_runtimes.engine_options import EngineOptions

from deploykit.commands.record import show as show_golden
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
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common
from deploykit.progress import Progress
from deploykit.terminal import echo, echo_json, name, pairs, size, strong

if TYPE_CHECKING:
    from deploykit_exporters.families.settings import Setting
    from deploykit_exporters.inspect import CheckpointReport
    from deploykit_runtimes.contract.spec import ModelSpec, Preprocess

    from deploykit.model_report import ModelReport

__all__ = ["command"]

Row = tuple[str, str | list[str]]


@click.command(
    "inspect",
    cls=Command,
    examples=(
        "deploykit inspect best.pt",
        "deploykit inspect best.onnx --json",
    ),
)
@click.argument("file", metavar="FILE", shell_complete=files)
@click_options(CheckpointOptions)
@click_options(EngineOptions, "outputs")
@common
def command(*, file: str, json_output: bool, **settings: Any) -> None:
    """Show what FILE holds: a model (.onnx) or engine, a folder by build, a checkpoint, a Hugging Face
    folder, a model name, or golden answers (.npz).

    Recognition is the same as in export, so this is also its rehearsal.
    """
    from deploykit.api import inspect
    from deploykit.model_report import ModelReport

    if _is_golden(file):
        show_golden(Path(file), json_output=json_output)
        return
    with Progress() as report:
        found = inspect(file, report=report, **settings)
    rows = _model_rows(found) if isinstance(found, ModelReport) else _checkpoint_rows(found)
    if json_output:
        echo_json(found.to_dict())
        return
    echo(strong(model_title(found.spec)))
    echo(*pairs(rows))


def _is_golden(file: str) -> bool:
    if not file.lower().endswith(".npz"):
        return False
    from deploykit_exporters.containers.sniff import is_golden

    return is_golden(Path(file))


def _checkpoint_rows(found: CheckpointReport) -> list[Row]:
    spec = found.spec
    return [
        ("file", str(found.path)),
        ("container", found.container),
        ("weights under", found.weights_key),
        ("also holds", ", ".join(map(name, found.entries))),
        ("tensors", str(found.tensors)),
        ("parameters", f"{found.parameters:,}"),
        ("operations", _operations(found.flops, spec)),
        *_spec_rows(spec),
        ("may be dynamic", axis_ranges(found.axes) or "nothing"),
        ("notes", list(found.notes)),
        *_setting_rows(found.settings),
        ("sha256", found.sha256),
    ]


def _setting_rows(settings: Sequence[Setting]) -> list[Row]:
    """What happened to the checkpoint's settings, a row for each treatment."""
    treatments = ("honoured", "harmless", "ignored", "unknown")
    return [
        (
            f"{treatment} settings",
            [
                f"{one.path} = {one.value}" + (f" ({one.why})" if one.why else "")
                for one in settings
                if one.treatment == treatment
            ],
        )
        for treatment in treatments
        if any(one.treatment == treatment for one in settings)
    ]


def _model_rows(found: ModelReport) -> list[Row]:
    spec, graph = found.spec, found.graph
    rows: list[Row] = [
        ("file", f"{found.path} ({size(found.size_bytes)})"),
        ("inputs", [str(info) for info in found.inputs]),
        ("outputs", [str(info) for info in found.outputs]),
        ("dynamic", axis_ranges(spec.input.dynamic) or "nothing"),
    ]
    if graph is not None:
        operators = ", ".join(f"{name(kind)} {count}" for kind, count in graph.facts.operators.items())
        rows += [
            ("opset", str(graph.facts.opset)),
            ("operators", f"{graph.facts.nodes}: {operators}"),
            ("parameters", f"{graph.facts.parameters:,}"),
            ("operations", _operations(graph.flops, spec) if graph.flops else ""),
        ]
    elif found.placement is not None:
        rows.append(("operators", "not counted: pip install 'deploykit[export]'"))
    rows += _spec_rows(spec)
    rows += [
        ("proof", parity_lines(spec.parity, spec.task)),
        ("precision", precision_lines(spec.precision)),
        ("golden cases", golden_cases(spec)),
        ("compiled by", found.compiled),
        ("built of it", [str(path) for path in found.built]),
        ("runs as", str(found.placement or "")),
        ("sha256", found.sha256),
    ]
    return rows


def _spec_rows(spec: ModelSpec) -> list[Row]:
    image = spec.input
    rows: list[Row] = [
        ("task", spec.task),
        ("family", name(spec.family)),
        ("variant", name(spec.variant)),
        ("origin", name(spec.origin)),
        ("classes", class_sample(spec)),
        (
            "image size",
            f"{image.height} x {image.width}, {image.channels} channels, {image.layout} {image.dtype}",
        ),
        ("pre-processing", preprocess_text(spec.preprocess)),
        ("output", f"{', '.join(map(name, spec.output.names))}: {spec.output.layout}, {_after(spec)}"),
        ("exported by", name(spec.exporter)),
        ("exported from", name(spec.source)),
        ("recognised", list(spec.recognised)),
        ("assumed", list(spec.assumed)),
    ]
    if spec.readings is not None:
        rows.append(
            ("outputs may be", [*(spec.readings or ["nothing that is known"]), "say it: --outputs NAME"])
        )
    if spec.inferred:
        rows.append(("metadata", "none by deploykit: the contract above was inferred from shapes"))
    return rows


def preprocess_text(process: Preprocess) -> str:
    """What happens to an image, step by step, in words."""
    if process.included:
        return "inside the graph"
    steps = []
    if process.pre_crop:
        steps.append(f"crop {process.pre_crop:.4g} of the short side")
    if process.resize != "none":
        target = " x ".join(map(str, process.resize_to))
        steps.append(f"{process.resize} to {target} ({process.interpolation}, {process.resampler})")
    if process.crop:
        steps.append(f"centre crop {process.crop[0]} x {process.crop[1]}")
    steps.append(f"{process.color}, times {process.scale:.6g}")
    steps.append(f"mean {_numbers(process.mean)}, std {_numbers(process.std)}")
    return "; ".join(steps)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _after(spec: ModelSpec) -> str:
    if spec.output.nms:
        return "no suppression needed"
    if spec.task in ("classify", "features"):
        return "nothing left to do" if spec.output.activation == "none" else f"{spec.output.activation} to do"
    return f"suppression to do (conf {spec.output.conf:g}, iou {spec.output.iou:g})"


def _operations(flops: int, spec: ModelSpec) -> str:
    return f"{flops / 1e9:.3g} GFLOPs at {spec.input.height} x {spec.input.width} (a multiply-add counts two)"
