"""Options that several commands share, and the callbacks that check them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from deploykit_runtimes.arguments import as_size, suggestion
from deploykit_runtimes.errors import OptionError

from deploykit.commands.shared.completing import families, files, readings, runtimes
from deploykit.commands.shared.line import AXES

__all__ = [
    "axes",
    "checkpoint_options",
    "common",
    "engine_options",
    "exact_option",
    "existing_file",
    "existing_path",
    "golden_option",
    "gpu_option",
    "image_size",
    "outputs_option",
    "positive_numbers",
    "runtime_option",
    "short_runtimes",
    "strict_option",
    "threads_option",
]

_F = TypeVar("_F", bound=Callable[..., Any])

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
existing_path = click.Path(exists=True, path_type=Path)


def image_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``H``, ``H,W`` or ``HxW`` in pixels, as (height, width)."""
    try:
        return as_size(value, "--imgsz")
    except OptionError as error:
        raise click.BadParameter(error.problem.removeprefix("--imgsz ")) from error


def positive_numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """``1,8,32`` as a tuple."""
    if value is None:
        return ()
    numbers = _whole_numbers(value)
    if not numbers or not all(1 <= n <= 1 << 16 for n in numbers):
        raise click.BadParameter(f"wanted positive numbers joined by commas, found {value!r}.")
    return numbers


def axes(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Comma-separated subsets of ``batch``, ``height`` and ``width``, which add up, or ``all``."""
    chosen = [part.strip() for text in value for part in text.split(",")]
    for axis in chosen:
        if axis not in (*AXES, "all"):
            hint = suggestion(axis, (*AXES, "all"))
            found = ",".join(value)
            raise click.BadParameter(f"wanted some of {', '.join(AXES)}, found {found!r}. {hint}".strip())
    return ("all",) if "all" in chosen else tuple(axis for axis in AXES if axis in chosen)


def _whole_numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    valid = all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts)
    return tuple(int(part) for part in parts) if valid else ()


def common(command: _F) -> _F:
    """``--json`` and ``--debug``, which every command takes."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    as_json = click.option(
        "--json", "json_output", is_flag=True, help="Print one JSON document on stdout, progress on stderr."
    )
    return as_json(debug(command))


def checkpoint_options(command: _F) -> _F:
    """How a checkpoint is read: the options that ``export``, ``inspect`` and ``verify`` share."""
    options = (
        click.option(
            "--family", metavar="F", shell_complete=families, help="vit, efficientnet, crossformer or yolo."
        ),
        click.option("--variant", metavar="V", help="Architecture, instead of the recognised one."),
        click.option("--origin", metavar="O", help="Training library: timm, torchvision, transformers, ..."),
        click.option(
            "--config",
            metavar="FILE|JSON",
            shell_complete=files,
            help="Training configuration: a file, never executed, or '{\"num_heads\": 6}'.",
        ),
        click.option(
            "--weights",
            metavar="KEY",
            help="Which weights, if the file holds several sets or networks: ema, state_dict.teacher.",
        ),
        click.option("--head", metavar="NAME", help="Which head, if the model has several."),
        click.option(
            "--head-activation",
            metavar="NAME",
            help="Activation between the layers of a head: gelu, relu, ...",
        ),
        click.option(
            "--ignore",
            multiple=True,
            metavar="NAME",
            help="A setting, tensor or call of the checkpoint that does not matter. May be repeated.",
        ),
        click.option(
            "--imgsz", callback=image_size, metavar="H[,W]", help="Input size, instead of the model's own."
        ),
        click.option(
            "--labels", type=existing_file, metavar="FILE", help="Class names, one per line, or JSON or YAML."
        ),
        click.option("--features", is_flag=True, help="Feature maps instead of the head."),
        click.option("--trust", is_flag=True, help="Allow the checkpoint to execute code while it is read."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def golden_option(command: _F) -> _F:
    """``--golden FILE``."""
    return click.option(
        "--golden",
        type=existing_file,
        metavar="FILE",
        help="Compare with the answers recorded in training: deploykit.record(model, FILE).",
    )(command)


def short_runtimes(command: _F) -> _F:
    """``--cpu``, ``--cuda`` and ``--trt``, as ``short``: the name of a runtime, or None."""
    names = {"--cpu": "ort-cpu", "--cuda": "ort-cuda", "--trt": "trt"}
    for flag, name in reversed(names.items()):
        command = click.option(flag, "short", flag_value=name, help=f"Short for --runtime {name}.")(command)
    return command


def runtime_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--runtime NAME`` and its short forms; the name is checked when the model is opened."""

    @wraps(command)
    def with_runtime(*args: Any, runtime: str | None, short: str | None, **options: Any) -> Any:
        if runtime and short and runtime != short:
            raise click.UsageError(f"--runtime {runtime} and the short form of --runtime {short}: give one.")
        return command(*args, runtime=runtime or short or "ort-cpu", **options)

    return click.option(
        "--runtime",
        metavar="NAME",
        shell_complete=runtimes,
        help="Engine and device: ort-cpu (default), ov-cpu, ort-cuda, trt, ...; `deploykit doctor` says "
        "what runs here.",
    )(short_runtimes(with_runtime))


def threads_option(command: _F) -> _F:
    """``--threads N``."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Threads inside one operator on the CPU. Default: every usable core.",
    )(command)


def strict_option(command: _F) -> _F:
    """``--strict``."""
    return click.option(
        "--strict", is_flag=True, help="Refuse a model if any part of it runs elsewhere than requested."
    )(command)


def exact_option(command: _F) -> _F:
    """``--exact``."""
    return click.option(
        "--exact",
        is_flag=True,
        help="Run the file's own graph, node for node. Default: ort-cpu may get a faster form of it.",
    )(command)


def outputs_option(command: _F) -> _F:
    """``--outputs NAME``."""
    return click.option(
        "--outputs",
        metavar="NAME",
        shell_complete=readings,
        help="What the outputs of another exporter's file mean, if the file does not say: yolo, yolov5, "
        "end2end, yolov7-end2end, logits, probabilities, features, ...; docs/other-exporters.md lists all.",
    )(command)


def gpu_option(command: _F) -> _F:
    """``--gpu N``."""
    return click.option(
        "--gpu",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Number of the GPU, if there are several. Default: 0.",
    )(command)


def engine_options(command: _F) -> _F:
    """How an engine works: ``EngineOptions`` without the threads, ``--strict`` and ``--exact``."""
    options = (
        click.option(
            "--goal",
            type=click.Choice(("latency", "throughput")),
            default="latency",
            show_default=True,
            help="All threads on one call, or several concurrent calls.",
        ),
        click.option(
            "--precision",
            type=click.Choice(("model", "auto")),
            default="model",
            show_default=True,
            help="auto allows a lower precision than the file's (bf16, TF32) where that is faster.",
        ),
        click.option(
            "--cache",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Folder that keeps what engines compile.",
        ),
        click.option("--cuda-graph", is_flag=True, help="Record and replay the GPU's work, per shape."),
        gpu_option,
    )
    for option in reversed(options):
        command = option(command)
    return command
