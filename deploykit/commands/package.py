"""``deploykit package``: folders that Triton, Ray Serve, KServe and Docker take as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from deploykit_runtimes.options.option import Options

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Group
from deploykit.commands.shared.options import common
from deploykit.package.options import (
    DockerOptions,
    KServeOptions,
    PackageOptions,
    RayOptions,
    TritonOptions,
)
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


def _package(record: type[Options]) -> Callable[[_F], _F]:
    """The options of one kind of package, and those that all kinds take."""

    def decorate(subcommand: _F) -> _F:
        models = click.argument(
            "models", nargs=-1, required=True, metavar="[NAME=]MODEL...", shell_complete=files
        )
        return click_options(record)(models(click_options(PackageOptions)(common(subcommand))))

    return decorate


@command.command(
    "triton",
    examples=(
        "deploykit package triton best.onnx -o models",
        "deploykit package triton best.onnx -o models --device gpu --tensorrt --precision fp16",
    ),
)
@_package(TritonOptions)
def triton(**settings: Any) -> None:
    """A model repository for NVIDIA Triton, run by its ONNX Runtime backend."""
    _run("triton", **settings)


@command.command(
    "ray",
    examples=(
        "deploykit package ray best.onnx -o app",
        "deploykit package ray best.onnx -o app --device cuda --max-replicas 8",
    ),
)
@_package(RayOptions)
def ray(**settings: Any) -> None:
    """A Ray Serve application with batching and autoscaling."""
    _run("ray", **settings)


@command.command(
    "kserve",
    examples=(
        "deploykit package kserve best.onnx -o app --storage-uri pvc://models/best --image deploykit:1",
        "deploykit package kserve best.onnx -o app --storage-uri s3://m/best --image deploykit:1 --cpu 4",
    ),
)
@_package(KServeOptions)
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
@_package(DockerOptions)
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
        ("models", [f"{name}: {_summary(facts)}" for name, facts in result.models.items()]),
        ("notes", list(result.notes)),
        ("files", _files(result)),
    ]
    return [
        *pairs(rows),
        f"{good('wrote')} {result.path}",
        *pairs([("next", list(result.commands))], indent=0),
    ]


def _files(result: PackageResult) -> list[str]:
    """The files by name, with deploykit's own sources as one line."""
    sources = [file for file in result.files if file.startswith("source/")]
    others = [file for file in result.files if not file.startswith("source/")]
    return others + ([f"source/ ({len(sources)} files)"] if sources else [])


def _summary(facts: Any) -> str:
    shown = {name: value for name, value in facts.items() if not isinstance(value, list)}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
