"""Opening a model whose file may contain anything, so that only the attempt can fail."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from deploykit_runtimes.builds.model_folder import model_file
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError, ModelError
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.runtimes import canonical_runtime
from deploykit_runtimes.selftest.run import require_self_test

from deploykit.serve.batching import BatchPolicy
from deploykit.serve.model import CPU, ServedModel
from deploykit.serve.options import ServeOptions
from deploykit.serve.watched import Stamp, files_beside, stamp_of

__all__ = ["Opened", "as_ours", "differences", "in_words", "open_model", "open_safely"]

_ACCELERATOR_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The outcome of opening a model: the model, or an error.

    Attributes:
        stamp: The stamp of its files, taken before they were opened.
        beside: See ``files_beside``.
        model, error: Exactly one of them is set.
    """

    stamp: Stamp
    beside: tuple[Path, ...]
    model: ServedModel | None = None
    error: BaseException | None = None


def open_safely(name: str, version: str, path: Path, options: ServeOptions, runtime: str) -> Opened:
    """Open a model without ever raising.

    Libraries raise anything, even ``SystemExit`` and exceptions that asyncio takes for a cancellation. In
    the thread that opens a model, none of these means that the server should end.

    Args:
        name, version, path, options: See ``open_model``.
        runtime: Canonical name of the runtime that opens the model.
    """
    beside = files_beside(path, runtime)
    stamp = stamp_of(path, runtime, beside)
    try:
        return Opened(stamp=stamp, beside=beside, model=open_model(name, version, path, options))
    except BaseException as error:  # noqa: BLE001 - see above
        return Opened(stamp=stamp, beside=beside, error=error)


def open_model(name: str, version: str, path: Path, options: ServeOptions) -> ServedModel:
    """Open a model and run it once on every engine it has. Blocks, possibly for minutes while an engine is
    built.

    On the CPU two sessions are opened: one runs calls in parallel with one thread each, for the highest
    throughput, and one uses all cores for a single call, for the lowest latency. Each holds its own
    copy of the weights. If ``threads`` is given, only the first is opened.

    Raises:
        ModelError, RuntimeUnavailableError, DependencyError: it cannot run.
        ParityError: it fails a golden case that its file carries.
    """
    runtime = canonical_runtime(options.runtime)
    on_cpu = runtime in CPU
    cores = usable_cores()
    instances = options.instances or (cores if on_cpu else 1)
    engine = EngineOptions(
        threads=options.threads,
        strict=options.strict,
        gpu=options.gpu,
        goal="throughput" if on_cpu and instances > 1 else "latency",
        outputs=options.outputs_of(name),
        exact=options.exact,
        detached=True,
        selftest=False,  # below, where the options want it
    )
    with ExitStack() as stack:
        runner = stack.enter_context(open_runner(path, runtime=runtime, options=engine))
        policy = _policy(runner, options, _ACCELERATOR_BATCH if not on_cpu else 1)
        solo = None
        if on_cpu and instances > 1 and options.threads is None:
            whole = replace(engine, threads=None, goal="latency")
            solo = stack.enter_context(open_runner(path, runtime=runtime, options=whole))
        policy = _warm(runner, policy)
        if solo is not None:
            _warm(solo, policy)
        model = ServedModel(
            name=name,
            version=version,
            path=model_file(path),
            runner=runner,
            solo=solo,
            policy=policy,
            options=options,
            instances=instances,
            tested=require_self_test(runner) if options.selftest and runner.spec.golden else None,
        )
        stack.pop_all()
    assert model.placed  # said while a failure still is one of opening
    return model


def _policy(runner: Runner, options: ServeOptions, usual: int) -> BatchPolicy:
    """Whether and how requests can share a run."""
    spec = runner.spec
    batch = spec.input.dynamic.get("batch")
    axes = {info.shape[0] for info in runner.outputs if info.shape}
    free = batch is not None and batch.step == 1 and all(isinstance(axis, str) for axis in axes)
    if not free or spec.output.layout == "end2end_flat" or not all(info.shape for info in runner.outputs):
        return BatchPolicy(queue=options.queue)
    others = {info.name for info in runner.inputs} - {spec.input.name, *THRESHOLD_INPUTS}
    if others:
        return BatchPolicy(queue=options.queue)
    assert batch is not None
    return BatchPolicy(
        batched=frozenset({spec.input.name}),
        max_batch=min(options.max_batch or usual, batch.max),
        max_delay_ms=options.max_delay_ms,
        queue=options.queue,
    )


def _warm(runner: Runner, policy: BatchPolicy) -> BatchPolicy:
    """Run once, and once more with two rows, to check that rows which ran together can be separated again."""
    runner.infer(_feeds(runner, None))
    if not policy.batched or policy.max_batch < 2:
        return policy
    outputs = runner.infer(_feeds(runner, 2))
    splits = all(output.ndim and len(output) == 2 for output in outputs.values())
    return policy if splits else BatchPolicy(queue=policy.queue)


def _feeds(runner: Runner, rows: int | None) -> dict[str, np.ndarray]:
    """Zeros of the model's own size, and its own thresholds."""
    spec = runner.spec
    image = spec.input
    own = {"batch": rows or image.batch, "height": image.height, "width": image.width}
    feeds: dict[str, np.ndarray] = {}
    for info in runner.inputs:
        if info.name == image.name:
            axes = (own.get(axis, image.channels) for axis in image.axes)
            feeds[info.name] = np.zeros(tuple(axes), info.numpy_dtype)
        elif info.name in THRESHOLD_INPUTS:
            feeds[info.name] = np.array(getattr(spec.output, info.name), info.numpy_dtype)
        else:
            raise ModelError(f"The model's input {info} is not an image, which this server cannot serve.")
    return feeds


def as_ours(error: BaseException | None, path: Path) -> DeploykitError:
    """An error from opening a file, converted to one of this package: what a library raises there is about
    the file.
    """
    if isinstance(error, DeploykitError):
        return error
    ours = ModelError(f"{path} cannot be loaded: {in_words(error)}")
    ours.__cause__ = error
    return ours


def in_words(error: BaseException | None) -> str:
    """The text of an error, with its class if that is not from this package."""
    if isinstance(error, DeploykitError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"there is not enough memory for it. {error}".strip()
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error that cannot even say what it is
        return type(error).__name__


def differences(old: ServedModel, new: ServedModel) -> list[str]:
    """Differences between an old and a new version that may affect clients, in words."""
    sides = (("inputs", old.inputs, new.inputs), ("outputs", old.outputs, new.outputs))
    return [
        f"{side}: {', '.join(map(str, after))}, before: {', '.join(map(str, before))}"
        for side, before, after in sides
        if before != after
    ]
