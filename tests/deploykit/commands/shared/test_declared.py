"""The fields of dataclasses of options on the command line."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from deploykit_exporters.options import ExportOptions, VerifyOptions
from deploykit_runtimes.build_options import BuildOptions
from deploykit_runtimes.devices import RuntimeOptions
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.options.option import Options, options_of
from deploykit_runtimes.prediction.options import PredictOptions

from deploykit import cli
from deploykit.benchmark.options import BenchKeywords, BenchOptions
from deploykit.checkup.options import DoctorOptions
from deploykit.demonstration import DemoOptions
from deploykit.package.options import (
    DockerOptions,
    KServeOptions,
    PackageOptions,
    RayOptions,
    TritonOptions,
)
from deploykit.serve.options import ServeOptions

RECORDS: dict[str, tuple[type[Options], ...]] = {
    "export": (ExportOptions,),
    "predict": (RuntimeOptions, EngineOptions, PredictOptions),
    "verify": (RuntimeOptions, EngineOptions, VerifyOptions),
    "bench": (BenchOptions,),
    "build": (BuildOptions,),
    "serve": (ServeOptions,),
    "doctor": (DoctorOptions,),
    "demo": (DemoOptions,),
    "package docker": (PackageOptions, DockerOptions),
    "package kserve": (PackageOptions, KServeOptions),
    "package ray": (PackageOptions, RayOptions),
    "package triton": (PackageOptions, TritonOptions),
}
NOT_IN = {"verify": {"exact"}, "serve": {"runtime"}}
"""Fields that a command leaves out: a proof is always exact, and a server runs what --device means too."""


def options_in(name: str) -> dict[str, click.Option]:
    command: click.Command | None = cli.cli
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return {str(each.name): each for each in command.params if isinstance(each, click.Option)}


def fields() -> Iterator[tuple[str, type[Options], str]]:
    for name, records in RECORDS.items():
        for record in records:
            for each in options_of(record):
                if each.flags and each.name not in NOT_IN.get(name, ()):
                    yield name, record, each.name


@pytest.mark.parametrize(("command", "record", "field"), list(fields()))
def test_a_field_is_an_option_of_its_command(command: str, record: type[Options], field: str) -> None:
    declared = {each.name: each for each in options_of(record)}[field]
    option = options_in(command)[field]
    assert option.help == declared.help
    assert tuple(option.opts) == declared.flags
    if option.required or declared.several:
        return
    alone = click.Command("alone", params=[option], callback=lambda **given: given)
    made = record(**{**needed(record), **alone.main([], standalone_mode=False)})
    assert getattr(made, field) == declared.default, "left out, an option is what it is in Python by default"


def needed(record: type[Options]) -> dict[str, str]:
    return {"storage_uri": "s3://a/b", "image": "a:1"} if record is KServeOptions else {}


def test_what_is_on_by_default_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []
    monkeypatch.setattr("deploykit.api.export", lambda _, **settings: seen.append(settings) or 1 / 0)
    assert cli.main(["export", "best.pt", "--no-simplify", "--debug"]) == cli.EXIT_BUG
    assert (seen[0]["simplify"], seen[0]["witness"]) == (False, True)


def test_the_keywords_of_bench_are_its_fields() -> None:
    inherited = {name for base in (BenchKeywords,) for name in base.__annotations__}
    assert inherited == {each.name for each in options_of(BenchOptions)}
