"""The operations of the facade that look at a machine: ``build``, ``doctor`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.arguments import known_keywords, refuse_unknown

if TYPE_CHECKING:
    from deploykit_runtimes.build_options import BuildOptions, BuildReport, BuildResult

    from deploykit.checkup.diagnosis import Diagnosis
    from deploykit.demonstration import DemoResult

__all__ = ["build", "demo", "doctor"]


def build(
    model: str | Path,
    runtime: str | None = None,
    output: str | Path | None = None,
    *,
    options: BuildOptions | None = None,
    report: Callable[[str], None] | BuildReport | None = None,
    **settings: Any,
) -> BuildResult:
    """Compile a model ahead of time, into what ``load`` opens in its place.

        deploykit.build("best.onnx", "ov", "best-ov/")

    Args:
        model: The .onnx file.
        runtime: What to build for; see ``deploykit_runtimes.runtimes.buildable_runtimes``.
        output: File or folder to write; None: beside the model.
        options: All options in one; what is given beside them wins.
        report: Called with a sentence as each stage starts; a ``BuildReport`` also hears how far a stage is.
        settings: Any field of ``BuildOptions``, which explains them: ``shapes``, ``precision``, ...

    Raises:
        OptionError: there is no such runtime or option, or its value cannot be used.
        ModelError, DependencyError, RuntimeUnavailableError: see ``build_engine`` of the runtimes.
    """
    from dataclasses import fields, replace

    from deploykit_runtimes.arguments import as_path, as_words
    from deploykit_runtimes.build_options import BuildOptions, BuildReport
    from deploykit_runtimes.builds.build import build_engine
    from deploykit_runtimes.errors import OptionError
    from deploykit_runtimes.runtimes import buildable_runtimes

    known = ("runtime", "output", "options", "report", *(field.name for field in fields(BuildOptions)))
    refuse_unknown(settings, known, where="build()")
    if runtime is None:
        raise OptionError(
            "build() wants the runtime to build for.", hint=f"One of {', '.join(buildable_runtimes())}."
        )
    if options is not None and not isinstance(options, BuildOptions):
        raise OptionError(f"options wants BuildOptions, found {type(options).__name__}.")
    for name in ("shapes", "compute_capabilities"):
        if isinstance(settings.get(name), str):
            # A shape has commas of its own.
            settings[name] = (settings[name],) if name == "shapes" else as_words(settings[name], name)
    for name, value in (("output", output), ("timing_cache", settings.get("timing_cache"))):
        if value is not None:
            settings[name] = as_path(value, name)
    told = report if isinstance(report, BuildReport) else BuildReport(step=report or (lambda _: None))
    return build_engine(
        model, runtime=runtime, options=replace(options or BuildOptions(), **settings), report=told
    )


@known_keywords("doctor()")
def doctor(*, report: Callable[[str], None] | None = None) -> Diagnosis:
    """Try each engine on a tiny model, and name the one line that would fix each that cannot run.

        found = deploykit.doctor()
        found.ok, found.ready  # True, ("ort-cpu", "ov-cpu")
        print(found)

    Args:
        report: Called with a sentence as each engine is tried.
    """
    from deploykit.checkup.diagnosis import diagnose
    from deploykit.checkup.machine import collect

    return diagnose(collect(report or (lambda _: None)))


@known_keywords("demo()")
def demo(
    output: str | Path = "deploykit-demo",
    *,
    seconds: float = 2.0,
    report: Callable[[str], None] | None = None,
) -> DemoResult:
    """Export an ImageNet-trained EfficientNet-Lite0, prove it, show it a cat, and measure it.

    Args:
        output: The folder to leave everything in.
        seconds: Time spent on each row of the measurement.
        report: Called with a sentence as each stage starts.

    Raises:
        DependencyError: the ``demo`` extra is not installed.
        OptionError: the folder cannot be created.
        ParityError: the ONNX file differs from the checkpoint, or the cat is not seen as a cat.
    """
    from deploykit_runtimes.arguments import as_number, as_path
    from deploykit_runtimes.errors import OptionError

    from deploykit.demonstration import run_demo

    folder = as_path(output, "output")
    if folder is None:
        raise OptionError("output wants a folder, found None.")
    return run_demo(folder, seconds=as_number(seconds, "seconds"), report=report or (lambda _: None))
