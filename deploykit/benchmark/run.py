"""Measure one model file on engines and batch sizes, all interleaved in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from deploykit_runtimes.builds.model_folder import model_file, read_model
from deploykit_runtimes.contract.shapes import check_batch, check_size
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, ModelSpec
from deploykit_runtimes.onnx.model_file import model_path
from deploykit_runtimes.onnx.model_files import hash_model, model_bytes
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.suitability import advice

from deploykit.benchmark.environment import read_environment
from deploykit.benchmark.options import BenchOptions
from deploykit.benchmark.report import BenchReport, BenchRow
from deploykit.benchmark.timing import sample, summarise, warm_up

if TYPE_CHECKING:
    from deploykit.benchmark.target import BenchTarget

__all__ = [
    "bench",
    "bench_runners",
    "example_images",
    "feeds_for",
    "model_identity",
]


def bench(
    model: str | Path, options: BenchOptions | None = None, *, report: Callable[[str], None] | None = None
) -> BenchReport:
    """Measure latency and throughput of the engine call: tensors in, tensors out.

    Pre- and post-processing on the host are not part of it. Several engines run each in a process of its
    own, in turns.

    Args:
        model: The .onnx file.
        options: See ``BenchOptions``.
        report: Called with a sentence as each stage starts.

    Raises:
        OptionError: the model does not take the batch or image size, or there is no such runtime.
        ModelError, RuntimeUnavailableError, DependencyError: see ``open_runner``.
    """
    from deploykit.benchmark.processes import bench_in_processes
    from deploykit.benchmark.target import BenchTarget, target_name

    options = options or BenchOptions()
    say = report or (lambda _: None)
    path = model_path(model)
    runtimes = _with_reference(options.runtimes, options.reference)
    names = dict.fromkeys(target_name(name) for name in runtimes)
    targets = [
        BenchTarget(name=name, model=path, reference=options.reference, options=options.engine)
        for name in names
    ]
    spec = read_model(path).spec(options.outputs)
    _check_request(spec, options)
    settings: dict[str, Any] = {
        "batches": tuple(dict.fromkeys(options.batches or (spec.input.batch,))),
        "imgsz": options.imgsz,
        "warmup": options.warmup,
        "runs": options.runs,
        "seconds": options.seconds,
        "report": say,
    }
    rows = bench_in_processes(targets, **settings) if len(targets) > 1 else _bench_here(targets[0], settings)
    return BenchReport(
        title=f"{spec.variant} ({path.name})",
        model=model_identity(model_file(path), spec),
        rows=rows,
        environment=read_environment(),
        # What PyTorch runs is the checkpoint.
        advice=tuple(
            dict.fromkeys(
                said
                for row in rows
                if row.placement.engine != "torch" and (said := advice(spec, row.placement))
            )
        ),
    )


def _with_reference(runtimes: tuple[str, ...], reference: object) -> tuple[str, ...]:
    """Add ``torch`` to the runtimes if a checkpoint is named that none of them would run."""
    if reference is None or any(name.startswith("torch") for name in runtimes):
        return runtimes
    return (*runtimes, "torch")


def _check_request(spec: ModelSpec, options: BenchOptions) -> None:
    """Report wrong sizes before an engine is opened, which can take minutes."""
    for batch in options.batches:
        check_batch(spec, batch, "--batch")
    if options.imgsz is not None and not spec.preprocess.included:
        check_size(spec, options.imgsz, "--imgsz")


def _bench_here(target: BenchTarget, settings: Mapping[str, Any]) -> tuple[BenchRow, ...]:
    """Measure a single engine in this process: nothing competes with it."""
    settings["report"](f"Opening the model on {target.name}")
    start = time.perf_counter()
    with target.open() as runner:
        load = {target.name: time.perf_counter() - start}
        threads = target.options.threads
        return bench_runners({target.name: runner}, threads=threads, load_seconds=load, **settings)


def bench_runners(
    runners: Mapping[str, Runner],
    *,
    batches: Sequence[int],
    imgsz: tuple[int, int] | None = None,
    threads: int | None = None,
    warmup: int | None = None,
    runs: int | None = None,
    seconds: float = 3.0,
    load_seconds: Mapping[str, float] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[BenchRow, ...]:
    """Measure open runners at each batch size, all of them in turns, on the same tensors.

    Args:
        runners: What to measure, by name; a row is called ``NAME, batch N``.
        load_seconds: Time that opening each took, for the record.

    Others: see ``BenchOptions``.
    """
    cases = {
        f"{name}, batch {batch}": (name, runner, feeds_for(runner.spec, batch, imgsz))
        for name, runner in runners.items()
        for batch in dict.fromkeys(batches)
    }
    calls = {case: partial(runner.infer, feeds) for case, (_, runner, feeds) in cases.items()}
    report("Warming up")
    warmed = {case: warm_up(call, runs=warmup) for case, call in calls.items()}
    report("Measuring")
    samples = sample(calls, runs=runs, seconds=seconds)
    rows = []
    for case, (name, runner, feeds) in cases.items():
        shape = next(iter(feeds.values())).shape
        rows.append(
            BenchRow(
                name=case,
                batch=shape[0],
                shape=shape,
                placement=runner.placement(),
                threads=threads,
                load_seconds=(load_seconds or {}).get(name),
                warmup=warmed[case],
                samples=tuple(samples[case]),
                summary=summarise(samples[case]),
            )
        )
    return tuple(rows)


def model_identity(path: Path, spec: ModelSpec) -> dict[str, object]:
    """What identifies the model that was measured."""
    return {
        "file": path.name,
        "sha256": hash_model(path),
        "size_bytes": model_bytes(path),
        "task": spec.task,
        "family": spec.family,
        "variant": spec.variant,
        "exporter": spec.exporter,
    }


def feeds_for(spec: ModelSpec, batch: int = 1, imgsz: tuple[int, int] | None = None) -> dict[str, np.ndarray]:
    """Inputs of one call: ``example_images`` as the image input, and the model's own thresholds."""
    feeds = {spec.input.name: example_images(spec, batch, imgsz)}
    if spec.output.runtime_thresholds:
        feeds.update((name, np.array(getattr(spec.output, name), np.float32)) for name in THRESHOLD_INPUTS)
    return feeds


def example_images(spec: ModelSpec, batch: int = 1, imgsz: tuple[int, int] | None = None) -> np.ndarray:
    """Uniformly random pixels, normalised as the model's images are, in its layout and dtype.

    Normalised, because zeros or unscaled values can run through other code paths (denormal numbers,
    early saturation) than images do. The same arguments give the same tensor.
    """
    height, width = imgsz or (spec.input.height, spec.input.width)
    generator = np.random.default_rng(0)
    shape = (batch, height, width, spec.input.channels)
    if spec.input.dtype == "uint8":
        images = generator.integers(0, 256, shape, dtype=np.uint8)
    else:
        process = spec.preprocess
        mean = np.resize(np.asarray(process.mean, np.float32), spec.input.channels)
        std = np.resize(np.asarray(process.std, np.float32), spec.input.channels)
        pixels = generator.random(shape, dtype=np.float32) * np.float32(255 * process.scale)
        images = ((pixels - mean) / std).astype(spec.input.dtype)
    if spec.input.layout == "NCHW":
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)
