"""The operations of the facade that look at a machine: ``build``, ``doctor`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.options.arguments import known_keywords, refuse_unknown

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
    device: str | int | None = None,
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
        device: As for ``load``, instead of the runtime: ``"npu"``; beside it the GPU to use: ``"cuda:1"``.
        options: All options in one; what is given beside them wins.
        report: Called with a sentence as each stage starts; a ``BuildReport`` also hears how far a stage is.
        settings: Any field of ``BuildOptions``, which explains them: ``shapes``, ``precision``, ...

    Raises:
        OptionError: there is no such runtime or option, or its value cannot be used.
        ModelError, DependencyError, RuntimeUnavailableError: see ``build_engine`` of the runtimes.
    """
    from dataclasses import fields

    from deploykit_runtimes.build_options import BuildOptions, BuildReport
    from deploykit_runtimes.builds.build import build_engine
    from deploykit_runtimes.options.option import put_over

    known = (
        "runtime",
        "output",
        "device",
        "options",
        "report",
        *(each.name for each in fields(BuildOptions)),
    )
    refuse_unknown(settings, known, where="build()")
    given = settings if output is None else {**settings, "output": output}
    told = report if isinstance(report, BuildReport) else BuildReport(step=report or (lambda _: None))
    chosen = put_over(options, BuildOptions, given)
    return build_engine(model, runtime=runtime, device=device, options=chosen, report=told)


@known_keywords("doctor()")
def doctor(
    *,
    runtime: str | None = None,
    device: str | int | None = None,
    report: Callable[[str], None] | None = None,
) -> Diagnosis:
    """Try each engine on a tiny model, and name the one line that would fix each that cannot run.

        found = deploykit.doctor()
        found.ok, found.ready  # True, ("ort-cpu", "ov-cpu")
        print(found)

    Args:
        runtime, device: The runtime that has to work for ``found.ok``, as for ``load``; None: any.
        report: Called with a sentence as each engine is tried.

    Raises:
        OptionError: there is no such runtime or device.
    """
    from deploykit_runtimes.devices import chosen_runtime
    from deploykit_runtimes.runtimes import canonical_runtime

    from deploykit.checkup.diagnosis import diagnose
    from deploykit.checkup.machine import collect

    asked, _ = chosen_runtime(runtime, device, {}, default="")
    asked = canonical_runtime(asked) if asked else ""
    return diagnose(collect(report or (lambda _: None)), asked=asked)


@known_keywords("demo()")
def demo(
    output: str | Path | None = None,
    *,
    seconds: float | None = None,
    report: Callable[[str], None] | None = None,
) -> DemoResult:
    """Export an ImageNet-trained EfficientNet-Lite0, prove it, show it a cat, and measure it.

    Args:
        output, seconds: See ``DemoOptions``, whose defaults None takes.
        report: Called with a sentence as each stage starts.

    Raises:
        DependencyError: the ``demo`` extra is not installed.
        OptionError: the folder cannot be created.
        ParityError: the ONNX file differs from the checkpoint, or the cat is not seen as a cat.
    """
    from deploykit_runtimes.options.option import put_over

    from deploykit.demonstration import DemoOptions, run_demo

    given = {"output": output, "seconds": seconds}
    options = put_over(None, DemoOptions, {name: value for name, value in given.items() if value is not None})
    return run_demo(options.output, seconds=options.seconds, report=report or (lambda _: None))
