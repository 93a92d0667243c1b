"""``deploykit package``: folders that Triton, Ray Serve, KServe and Docker take as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.line import Group
from deploykit.commands.shared.options import common
from deploykit.terminal import echo, echo_json, good, pairs

if TYPE_CHECKING:
    from deploykit.package.result import PackageResult

__all__ = ["command"]

_F = TypeVar("_F", bound=Callable[..., Any])


@click.group(
    "package",
    cls=Group,
    short_help="Write a folder for Triton, Ray Serve, KServe or Docker.",
    examples=(
        "deploykit package triton best.onnx -o models",
        "deploykit package docker best.onnx -o image",
    ),
)
def command() -> None:
    """Write a folder that another server takes as it is, with the models inside.

    MODEL is an .onnx file or a folder of `deploykit build`; NAME=MODEL gives it another name. The folder
    appears whole or not at all.
    """


def _package(subcommand: _F) -> _F:
    """What all kinds take."""
    for option in (
        common,
        click.option("--force", is_flag=True, help="Replace a folder that this command wrote before."),
        click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder to write; it must not exist yet, or be empty.",
        ),
        click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL...", shell_complete=files),
    ):
        subcommand = option(subcommand)
    return subcommand


def _option(name: str, default: Any, kind: Any, metavar: str | None, text: str) -> Callable[[_F], _F]:
    return click.option(
        name, type=kind, default=default, show_default=default is not None, metavar=metavar, help=text
    )


_max_batch = _option(
    "--max-batch",
    None,
    click.IntRange(1),
    "N",
    "Most images of one run. Default: the declared batch, up to 32.",
)
_max_delay = _option(
    "--max-delay",
    2.0,
    click.FloatRange(0, 60_000),
    "MS",
    "How long the first request waits for others, in milliseconds.",
)


_wheel = _option(
    "--wheel", None, str, "FILE", "Wheel of deploykit to install. Default: the deploykit that runs here."
)


def _replicas(subcommand: _F) -> _F:
    lowest = _option("--min-replicas", 1, click.IntRange(0), "N", "Fewest replicas.")
    highest = _option("--max-replicas", 4, click.IntRange(1), "N", "Most replicas.")
    return lowest(highest(subcommand))


@command.command(
    "triton",
    examples=(
        "deploykit package triton best.onnx -o models",
        "deploykit package triton best.onnx -o models --device gpu --tensorrt --precision fp16",
    ),
)
@_max_batch
@_max_delay
@_option("--queue", 256, click.IntRange(0), "N", "Requests that may wait; 0: any number.")
@_option("--device", "auto", click.Choice(("auto", "cpu", "gpu")), None, "Where the models run.")
@_option("--instances", 1, click.IntRange(1), "N", "Copies of each model, per GPU.")
@click.option("--tensorrt", is_flag=True, help="Run through TensorRT, for the declared shapes.")
@_option("--precision", "fp32", click.Choice(("fp32", "fp16")), None, "What TensorRT may compute in.")
@click.option("--no-warmup", is_flag=True, help="Be ready before the models ran once.")
@_package
def triton(*, max_delay: float, no_warmup: bool, **settings: Any) -> None:
    """A model repository for NVIDIA Triton, run by its ONNX Runtime backend."""
    _run("triton", max_delay_ms=max_delay, warmup=not no_warmup, **settings)


@command.command(
    "ray",
    examples=(
        "deploykit package ray best.onnx -o app",
        "deploykit package ray best.onnx -o app --device cuda --max-replicas 8",
    ),
)
@_max_batch
@_max_delay
@_option("--queue", 256, click.IntRange(1), "N", "Requests that may wait; further ones get 503.")
@_option("--device", "cpu", click.Choice(("cpu", "cuda")), None, "Where the models run.")
@_option("--cpus", 1.0, click.FloatRange(0, 1024, min_open=True), "N", "CPUs of a replica.")
@_replicas
@click.option("--no-resubmit", is_flag=True, help="One hop less; a replica that dies fails its requests.")
@_option("--host", "127.0.0.1", str, "HOST", "Where the proxies listen.")
@_option("--port", 8000, click.IntRange(1, 65535), "PORT", "Where the proxies listen.")
@_wheel
@_package
def ray(*, max_delay: float, no_resubmit: bool, **settings: Any) -> None:
    """A Ray Serve application with batching and autoscaling."""
    _run("ray", max_delay_ms=max_delay, resubmit=not no_resubmit, **settings)


@command.command(
    "kserve",
    examples=(
        "deploykit package kserve best.onnx -o app --storage-uri pvc://models/best --image deploykit:1",
        "deploykit package kserve best.onnx -o app --storage-uri s3://m/best --image deploykit:1 --cpu 4",
    ),
)
@click.option(
    "--storage-uri", required=True, metavar="URI", help="Where the models will lie: s3://..., pvc://..."
)
@click.option("--image", required=True, metavar="IMAGE", help="Container image with deploykit[serve].")
@_option("--device", "cpu", click.Choice(("cpu", "cuda")), None, "Where the models run.")
@_option("--cpu", "2", str, "QUANTITY", "CPUs of a replica.")
@_option("--memory", "4Gi", str, "QUANTITY", "Memory of a replica.")
@_replicas
@_option("--concurrency", 16, click.IntRange(1), "N", "Requests under way that a replica is scaled for.")
@_option("--namespace", "", str, "NAME", "Where the resources live. Default: the current one.")
@_package
def kserve(**settings: Any) -> None:
    """Manifests for KServe: a ServingRuntime and an InferenceService per model."""
    _run("kserve", **settings)


@command.command(
    "docker",
    examples=(
        "deploykit package docker best.onnx -o image",
        "deploykit package docker best.onnx -o image --device cuda --python 3.13",
    ),
)
@_option("--device", "each", click.Choice(("cpu", "cuda", "each")), None, "Which Dockerfiles to write.")
@_option("--python", "3.12", click.Choice(("3.11", "3.12", "3.13", "3.14")), None, "Python of the image.")
@_option("--port", 8000, click.IntRange(1024, 65535), "PORT", "HTTP.")
@_option("--grpc-port", 8001, click.IntRange(1024, 65535), "PORT", "gRPC.")
@_wheel
@_package
def docker(**settings: Any) -> None:
    """A folder to build an image from: Dockerfile, compose.yaml and the models."""
    _run("docker", **settings)


def _run(kind: str, *, models: tuple[str, ...], output: Path, json_output: bool, **settings: Any) -> None:
    from deploykit.package import package

    result = package(kind, models, output, **settings)
    if json_output:
        echo_json(result.to_dict())
        return
    echo(*result_lines(result))


def result_lines(result: PackageResult) -> list[str]:
    """What was written, under which names, and what to type next."""
    rows: list[tuple[str, str | list[str]]] = [
        ("models", [f"{name}: {_told(facts)}" for name, facts in result.models.items()]),
        ("notes", list(result.notes)),
        ("files", _files(result)),
    ]
    return [
        *pairs(rows),
        f"{good('wrote')} {result.path}",
        *pairs([("next", list(result.commands))], indent=0),
    ]


def _files(result: PackageResult) -> list[str]:
    """The files by name, those of deploykit's sources as one line."""
    sources = [file for file in result.files if file.startswith("source/")]
    others = [file for file in result.files if not file.startswith("source/")]
    return others + ([f"source/ ({len(sources)} files)"] if sources else [])


def _told(facts: Any) -> str:
    shown = {name: value for name, value in facts.items() if not isinstance(value, list)}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
