"""The operations of the facade that look at a machine: ``build``, ``selftest``, ``doctor`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.options.arguments import known_keywords, refuse_unknown

from deploykit.progress import counter_of

if TYPE_CHECKING:
    from deploykit_runtimes.build_options import BuildOptions, BuildReport, BuildResult
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.runner import Runner
    from deploykit_runtimes.selftest.run import SelfTest

    from deploykit.checkup.diagnosis import Diagnosis
    from deploykit.checkup.finding import Finding
    from deploykit.demonstration import DemoResult

__all__ = ["build", "demo", "doctor", "selftest"]


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
        output: File or folder to write; None: next to the model.
        device: As for ``load``, instead of the runtime: ``"npu"``; or, with a runtime, the GPU to use:
            ``"cuda:1"``.
        options: All options in one object; keywords take precedence.
        report: Called with a sentence as each stage starts; a ``BuildReport`` is also notified of the
            progress within a stage.
        settings: Any field of ``BuildOptions``, which explains them: ``shapes``, ``precision``, ...

    Raises:
        OptionError: there is no such runtime or option, or its value cannot be used.
        ModelError, DependencyError, RuntimeUnavailableError: see ``build_engine`` of the runtimes.
        ParityError: what was built fails a golden case of the model.
    """
    from dataclasses import fields, replace

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
    built = build_engine(model, runtime=runtime, device=device, options=chosen, report=told)
    return replace(built, tested=_tested(built, chosen.gpu, told)) if chosen.selftest else built


def _tested(built: BuildResult, gpu: int, report: BuildReport) -> str:
    """The outcome of the golden cases on the built model, or why they were not run.

    Raises:
        ParityError: one fails.
    """
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.errors import ParityError, RuntimeUnavailableError
    from deploykit_runtimes.open import open_runner
    from deploykit_runtimes.selftest.run import require_self_test

    report.step("Running the golden cases on what was built")
    opening = EngineOptions(gpu=gpu, selftest=False)
    try:
        with open_runner(built.path, runtime=built.runtime, options=opening) as runner:
            if not runner.spec.golden:
                return "not run: the model carries no golden cases"
            return str(require_self_test(runner))
    except RuntimeUnavailableError as error:
        return f"not run here: {error.problem} On the target: deploykit selftest {built.path.name}"
    except ParityError as error:
        raise ParityError(error.problem, hint=f"Do not deploy {built.path}. {error.hint}") from error


def selftest(
    model: str | Path,
    *,
    runtime: str | None = None,
    device: str | int | None = None,
    url: str | None = None,
    compute: str | None = None,
    key: str = "",
    engine: EngineOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Any,
) -> SelfTest:
    """Run the golden cases that a model file carries, on an engine of this machine or on a server.

        tested = deploykit.selftest("best.onnx", runtime="ov-cpu")
        tested.ok, tested.problem  # True, ""
        deploykit.selftest("best.onnx", url="http://triton:8000").ok

    Args:
        model: The .onnx file, an engine, or a folder that ``build`` wrote.
        runtime, device: What runs it, as for ``load``.
        url: Instead of these, a server of the Open Inference Protocol that runs the file (Triton, KServe,
            ``deploykit serve``): ``http://host:8000``, or ``http://host:8000/v2/models/NAME`` if the model
            is not named like its file.
        compute: The precision of that server, which determines the tolerances: ``fp32``, ``tf32``, ``fp16``,
            ``bf16``, ``int8``. None: as ``deploykit serve`` reports; for other servers ``fp32``.
        key: The bearer key that the server requires.
        engine: How the model is opened here; keywords take precedence.
        report: Called with a sentence as each stage starts; its method ``count(done, total)``, if it has
            one, is called as cases are run.
        settings: Any field of ``EngineOptions``: ``threads``, ``precision``, ``exact``, ...

    Raises:
        ModelError: the file carries no golden cases, or none with tolerances for the engine's precision; or
            the server has another model.
        OptionError, DependencyError, RuntimeUnavailableError: it cannot be opened there.
    """
    from dataclasses import fields, replace

    from deploykit_runtimes.devices import chosen_runtime
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.errors import OptionError
    from deploykit_runtimes.open import open_runner
    from deploykit_runtimes.options.option import put_over
    from deploykit_runtimes.pixels.urls import shown_url
    from deploykit_runtimes.selftest.run import self_test

    from deploykit.remote.runner import open_remote

    known = (
        *("runtime", "device", "url", "compute", "key", "engine", "report"),
        *(each.name for each in fields(EngineOptions)),
    )
    refuse_unknown(settings, known, where="selftest()")
    opened: Runner
    say = report or (lambda _: None)
    if url is None:
        if compute is not None or key:
            raise OptionError("compute and key are for a server: give its url too.")
        name, given = chosen_runtime(runtime, device, settings)
        say(f"Opening the model on {name}")
        options = replace(put_over(engine, EngineOptions, given, "engine"), selftest=False)
        opened = open_runner(model, runtime=name, options=options)
    else:
        if (runtime, device) != (None, None) or put_over(engine, EngineOptions, settings) != EngineOptions():
            raise OptionError(
                "With url=, a server runs the model: runtime, device and engine options have no effect.",
                hint="Set them where the server is started.",
            )
        name = shown_url(url)
        say(f"Asking {name} for the model")
        opened = open_remote(Path(model), url, compute=compute, key=key)
    with opened as runner:
        say(f"Running the golden cases on {name}")
        return self_test(runner, progress=counter_of(report))


@known_keywords("doctor()")
def doctor(
    model: str | Path | None = None,
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
        model: A model file, whose golden cases are then run on each engine that runs here.
        runtime, device: The runtime that has to work for ``found.ok``, as for ``load``; None: any.
        report: Called with a sentence as each engine is tried.

    Raises:
        OptionError: there is no such runtime or device.
        ModelError: the model cannot be read, or carries no golden cases.
    """
    from dataclasses import replace

    from deploykit_runtimes.builds.model_folder import read_model
    from deploykit_runtimes.devices import chosen_runtime
    from deploykit_runtimes.runtimes import canonical_runtime
    from deploykit_runtimes.selftest.run import golden_cases

    from deploykit.checkup.diagnosis import diagnose
    from deploykit.checkup.machine import collect

    asked, _ = chosen_runtime(runtime, device, {}, default="")
    asked = canonical_runtime(asked) if asked else ""
    if model is not None:
        golden_cases(read_model(model).spec())
    found = diagnose(collect(report or (lambda _: None)), asked=asked)
    if model is None:
        return found
    names = [asked] if asked in found.ready else [] if asked else found.ready
    return replace(found, tested=tuple(_self_tested(model, name, report) for name in names))


def _self_tested(model: str | Path, runtime: str, report: Callable[[str], None] | None) -> Finding:
    """The golden cases of a model on a working runtime."""
    from deploykit_runtimes.errors import DeploykitError
    from deploykit_runtimes.selftest.run import ADVICE

    from deploykit.checkup.finding import Finding

    try:
        found = selftest(model, runtime=runtime, report=report)
    except DeploykitError as error:
        return Finding(name=runtime, ok=False, detail=error.problem, fix=error.hint)
    return Finding(name=runtime, ok=found.ok, detail=str(found), fix="" if found.ok else ADVICE)


@known_keywords("demo()")
def demo(
    output: str | Path | None = None,
    *,
    seconds: float | None = None,
    report: Callable[[str], None] | None = None,
) -> DemoResult:
    """Export an ImageNet-trained EfficientNet-Lite0, prove it, show it a cat, and measure it.

    Args:
        output, seconds: See ``DemoOptions``, None takes its defaults.
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
