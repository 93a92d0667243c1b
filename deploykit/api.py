"""The operations of the facade. Each has the defaults of its command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from deploykit_runtimes.arguments import known_keywords, refuse_unknown

if TYPE_CHECKING:
    from deploykit_exporters.export import ExportResult
    from deploykit_exporters.inspect import CheckpointReport
    from deploykit_exporters.options import ExportKeywords, ExportOptions
    from deploykit_exporters.sources.in_memory import Source
    from deploykit_exporters.verify import VerifyResult
    from deploykit_runtimes.engine_options import EngineOptions

    from deploykit.benchmark.report import BenchReport
    from deploykit.model_report import ModelReport
    from deploykit.placed import Example

    class ExportSettings(ExportKeywords, total=False):
        """The keywords of ``export``."""

        output: str | Path | None


__all__ = ["bench", "export", "inspect", "record", "verify"]


def export(
    checkpoint: Source,
    *where: str | Path | Example,
    options: ExportOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[ExportSettings],
) -> ExportResult:
    """Export a checkpoint, or a module in memory, to one ONNX file and prove that it gives its answers.

        deploykit.export("best.pt", dynamic="batch", labels="names.txt")
        deploykit.export(model, 224, "model.onnx")  # a module of torch

    Args:
        checkpoint: A file or folder, or a name such as ``timm:vit_base_patch16_224``. In memory: a module of
            torch of one of the four families, a state dict, or a dict that holds one; it is read as the file
            with it would be, and left as it is.
        where: In any order, the .onnx file to write (by default beside the checkpoint, or in the current
            folder) and the size of the input: 224, (height, width), or an example tensor [N, C, H, W], whose
            height, width and batch are taken. The same as ``output``, ``imgsz`` and ``batch``.
        options: All options in one; what is given beside them wins.
        report: Called with a sentence as each stage starts.
        settings: Any field of ``ExportOptions``, which explains them: ``dynamic`` (True for all that
            the architecture allows, or ``"batch"``, ``"height,width"``, ...), ``imgsz`` (224 or
            (height, width)), ``batch``, ``labels`` (a file or the names), ``opset``, ``features``, ...

    Raises:
        OptionError: there is no such option, or its value cannot be used.
        DeploykitError: see ``deploykit_exporters.export.export``.
    """
    from deploykit_exporters.precheck import precheck

    from deploykit.placed import placed

    chosen = _export_options(options, placed(where, settings), "export", ("options", "report"))
    precheck(checkpoint, chosen)

    from deploykit_exporters.export import export as run

    return run(checkpoint, chosen, report=report)


def verify(
    checkpoint: Source,
    model: str | Path,
    images: str | Path | Iterable[str | Path] = (),
    *,
    runtime: str = "ort-cpu",
    threads: int | None = None,
    strict: bool = False,
    outputs: str | None = None,
    engine: EngineOptions | None = None,
    tolerance: float | None = None,
    options: ExportOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[ExportKeywords],
) -> VerifyResult:
    """Compare a model file with its checkpoint again, on noise, a photo and the given images.

    Args:
        checkpoint, model: The two sides; the first may be a module in memory, as for ``export``.
        images: Files, folders or glob patterns, one or several.
        runtime: The engine that runs the model.
        threads, strict: Short for those of ``engine``, which wins.
        outputs: What the outputs of another exporter's file mean; see ``EngineOptions``.
        engine: How the model is opened; always ``exact``, since the proof is of the file.
        tolerance: Largest difference allowed, as a share of each output's scale (None: 1e-4), or of a score
            where pre- or post-processing is inside (None: 1e-3).
        options, settings: Those given to the export, where they change the model; see ``export``.
        report: Called with a sentence as each stage starts.

    Raises:
        ParityError: the answers differ beyond the tolerance.
        DeploykitError: see ``deploykit_exporters.verify.verify``.
    """
    from deploykit_exporters.precheck import precheck
    from deploykit_runtimes.builds.model_folder import read_model
    from deploykit_runtimes.pixels.listing import list_images

    own = ("images", "runtime", "threads", "strict", "outputs", "engine", "tolerance", "options", "report")
    chosen = _export_options(options, settings, "verify", own)
    opened = _engine_options(engine, threads, strict, outputs)
    precheck(checkpoint, chosen, writes=False)
    read_model(model)
    paths = list_images(images)

    from deploykit_exporters.verify import verify as run

    return run(
        checkpoint,
        model,
        paths,
        options=chosen,
        runtime=runtime,
        engine=opened,
        tolerance=tolerance,
        report=report,
    )


@known_keywords("record()")
def record(
    model: Any,
    file: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    transform: Callable[[Any], Any] | None = None,
    images: Any = (),
    labels: Sequence[str] | Mapping[int, str] | None = None,
    forward: Callable[[Any, Any], Any] | None = None,
) -> Path:
    """Write down what a model answers, in the process that trained it, for ``export(golden=file)``.

        deploykit.record(model, "golden.npz", transform=eval_transform, labels=class_names)

    ``deploykit record --print`` prints the file that does it, for processes without deploykit.

    Args:
        model: What was trained, with the weights that its checkpoint has. It runs in eval mode and
            float32, and is left as it was.
        file: The .npz file to write.
        size: (height, width) of the model's input in pixels, or its side; None: what ``transform`` makes.
        transform: The transform of the evaluation, from a Pillow image to the tensor [C, H, W].
        images: Pictures of your own for ``transform``, or float tensors [N, C, H, W] for the model.
        labels: The names of the classes, in the order of the outputs.
        forward: ``forward(model, images)`` where ``model(images)`` does not give what is to be exported.

    Raises:
        OptionError: something is missing, random, or not of these forms.
        DependencyError: torch is not installed.
    """
    from deploykit_runtimes.errors import OptionError

    from deploykit.recording import load

    module = load()
    try:
        written: Path = module.record(
            model, file, size=size, transform=transform, images=images, labels=labels, forward=forward
        )
    except module.RecordError as error:
        raise OptionError(str(error)) from error
    return written


def inspect(
    file: Source,
    *,
    outputs: str | None = None,
    options: ExportOptions | None = None,
    **settings: Unpack[ExportKeywords],
) -> CheckpointReport | ModelReport:
    """Say what a checkpoint or a model file holds; of a checkpoint also what it would become.

    Args:
        file: An .onnx file, or a folder that ``build`` wrote; or a checkpoint, a Hugging Face folder, the
            name of a model, or a module in memory.
        outputs: What the outputs of another exporter's model file mean; see ``EngineOptions``.
        options, settings: As for ``export``; of no use for a model file.

    Raises:
        CheckpointError, OptionError: the checkpoint cannot be read or recognised.
        ModelError: the model cannot be read.
    """
    from deploykit_exporters.sources.in_memory import source_name
    from deploykit_runtimes.errors import OptionError

    from deploykit.model_report import inspect_model, is_model_file

    if is_model_file(file):
        return inspect_model(cast("str | Path", file), outputs=outputs)
    if outputs is not None:
        raise OptionError(
            f"outputs says what a model file's outputs mean, and {source_name(file)} is a checkpoint.",
            hint="Leave it out: a checkpoint's head tells it.",
        )

    from deploykit_exporters.options import hints_of
    from deploykit_exporters.precheck import precheck

    chosen = _export_options(options, settings, "inspect", ("outputs", "options"))
    precheck(file, chosen, writes=False)

    from deploykit_exporters.inspect import inspect_checkpoint

    return inspect_checkpoint(file, hints=hints_of(chosen), trust=chosen.trust)


@known_keywords("bench()")
def bench(
    model: str | Path,
    *,
    runtimes: str | Iterable[str] = ("ort-cpu",),
    batches: int | Iterable[int] = (),
    imgsz: int | str | tuple[int, int] | None = None,
    reference: str | Path | None = None,
    warmup: int | None = None,
    runs: int | None = None,
    seconds: float = 3.0,
    threads: int | None = None,
    strict: bool = False,
    outputs: str | None = None,
    engine: EngineOptions | None = None,
    report: Callable[[str], None] | None = None,
) -> BenchReport:
    """Measure a model on each runtime and batch size, interleaved in one run.

        deploykit.bench("best.onnx", runtimes="ort-cpu,ov-cpu", reference="best.pt")

    Args:
        model: The .onnx file, an engine, or a folder that ``deploykit build`` wrote.
        runtimes: Engines by name, one or several; see ``deploykit_runtimes.runtimes.available_runtimes``.
            ``torch``, ``torch-channels-last`` and ``torch-compile`` run the checkpoint.
        batches: Batch sizes to measure, one or several; none: the model's own.
        imgsz: Size in pixels, where the model's is dynamic.
        reference: The checkpoint, measured in torch too; None: where torch is one of the runtimes, looked
            for beside the model.
        warmup: Calls before timing starts; None: until the time of a call no longer falls.
        runs: Timed calls per row; None: as many as fit into ``seconds``.
        seconds: Time to spend on each row.
        threads, strict: Short for those of ``engine``, which wins.
        outputs: What the outputs of another exporter's file mean; see ``EngineOptions``.
        engine: How the model is opened.
        report: Called with a sentence as each stage starts.

    Raises:
        OptionError: there is no such runtime, or a value cannot be used.
        DeploykitError: the model cannot be opened, or a runtime cannot run here.
    """
    from dataclasses import asdict

    from deploykit_runtimes.arguments import as_count, as_number, as_size, as_words

    from deploykit.benchmark.run import BenchOptions, with_reference
    from deploykit.benchmark.run import bench as run

    how = asdict(_engine_options(engine, threads, strict, outputs))
    several = list(batches) if isinstance(batches, Iterable) else [batches]
    options = BenchOptions(
        runtimes=with_reference(as_words(runtimes, "runtimes"), reference),
        batches=tuple(as_count(batch, "batches") for batch in several),
        imgsz=as_size(imgsz),
        reference=None if reference is None else str(reference),
        warmup=None if warmup is None else as_count(warmup, "warmup", least=0),
        runs=None if runs is None else as_count(runs, "runs"),
        seconds=as_number(seconds, "seconds"),
        **{name: value for name, value in how.items() if name != "detached"},
    )
    return run(model, options, report=report)


def _engine_options(options: object, threads: object, strict: object, outputs: str | None) -> EngineOptions:
    """How a model is opened; ``outputs`` wins over those of the options.

    Raises:
        OptionError: a value cannot be used.
    """
    from dataclasses import replace

    from deploykit_runtimes.arguments import as_count, as_flag
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.errors import OptionError

    if options is None:
        counted = None if threads is None else as_count(threads, "threads")
        options = EngineOptions(threads=counted, strict=as_flag(strict, "strict"))
    if not isinstance(options, EngineOptions):
        raise OptionError(f"engine wants EngineOptions, found {type(options).__name__}.")
    return options if outputs is None else replace(options, outputs=outputs)


def _export_options(
    options: object, settings: Mapping[str, Any], operation: str, own: Sequence[str] = ()
) -> ExportOptions:
    """The options with the settings put over them.

    Args:
        options, settings: What was given.
        operation: The name of the public function.
        own: Its other keywords, of which one may be meant.

    Raises:
        OptionError: a setting is not one of the fields, or ``options`` is something else.
    """
    from dataclasses import fields, replace

    from deploykit_exporters.options import ExportOptions
    from deploykit_runtimes.errors import OptionError

    if options is None:
        options = ExportOptions()
    if not isinstance(options, ExportOptions):
        raise OptionError(f"options wants ExportOptions, found {type(options).__name__}.")
    known = [*own, *(field.name for field in fields(ExportOptions))]
    refuse_unknown(settings, known, where=f"{operation}()")
    return replace(options, **settings)
