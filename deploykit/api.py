"""The operations of the facade. Each has the defaults of its command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

from deploykit_runtimes.options.arguments import known_keywords
from deploykit_runtimes.options.option import refuse_other_fields

from deploykit.progress import say_torch_loads

if TYPE_CHECKING:
    from deploykit_exporters.export import ExportResult
    from deploykit_exporters.inspect import CheckpointReport
    from deploykit_exporters.options import ExportKeywords, ExportOptions
    from deploykit_exporters.precision.file import Fp16File
    from deploykit_exporters.sources.in_memory import Source
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.options.option import Options

    from deploykit.benchmark.options import BenchKeywords, BenchOptions
    from deploykit.benchmark.report import BenchReport
    from deploykit.evaluation.options import EvalKeywords, EvalOptions
    from deploykit.evaluation.report import EvalReport
    from deploykit.model_report import ModelReport
    from deploykit.placed import Example
    from deploykit.quantization.int8.report import Int8Report
    from deploykit.quantization.options import QuantizeKeywords, QuantizeOptions

    class ExportSettings(ExportKeywords, total=False):
        """The keywords of ``export``."""

        output: str | Path | None
        precision: Literal["fp32", "fp16"]
        calib: str | Path | None

    class InspectSettings(ExportKeywords, total=False):
        """The keywords of ``inspect``."""

        outputs: str | None


__all__ = ["bench", "evaluate", "export", "inspect", "quantize", "record"]


def export(
    checkpoint: Source,
    *where: str | Path | Example,
    options: ExportOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[ExportSettings],
) -> ExportResult:
    """Export a checkpoint, or a module in memory, to one ONNX file, and prove that the file gives the same
    answers.

        deploykit.export("best.pt", dynamic="batch", labels="names.txt")
        deploykit.export(model, 224, "model.onnx")  # a module of torch

    Args:
        checkpoint: A file or folder, or a name such as ``timm:vit_base_patch16_224``. In memory: a module
            of torch of one of the four families, a state dict, or a dict that holds one; it is read as its
            file would be, and is not changed.
        where: In any order, the .onnx file to write (by default beside the checkpoint, or in the current
            folder) and the size of the input: 224, (height, width), or an example tensor [N, C, H, W], whose
            height, width and batch are taken. The same as ``output``, ``imgsz`` and ``batch``.
        options: All options in one object; keywords given as well take precedence.
        report: Called with a sentence as each stage starts.
        settings: Any field of ``ExportOptions``, documented there: ``dynamic`` (True for all that
            the architecture allows, or ``"batch"``, ``"height,width"``, ...), ``imgsz`` (224 or
            (height, width)), ``batch``, ``labels`` (a file or the names), ``opset``, ``features``, ...

    Raises:
        OptionError: there is no such option, or its value cannot be used.
        DeploykitError: see ``deploykit_exporters.export.export``.
    """
    from deploykit_exporters.options import ExportOptions
    from deploykit_exporters.precheck import precheck
    from deploykit_runtimes.options.option import put_over

    from deploykit.placed import placed
    from deploykit.quantization.fp16 import calibration_pictures

    given = placed(where, settings)
    refuse_other_fields("export()", given, ("options", "report"), ExportOptions)
    chosen = put_over(options, ExportOptions, given)
    precheck(checkpoint, chosen)
    pictures = [] if chosen.calib is None else calibration_pictures(chosen.calib)
    say_torch_loads(report)
    from deploykit_exporters.export import export as run

    return run(checkpoint, chosen, pictures=pictures, report=report)


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
        model: The trained model, with the weights of its checkpoint. It runs in eval mode and float32, and
            is restored afterwards.
        file: The .npz file to write.
        size: (height, width) of the model's input in pixels, or its side; None: what ``transform`` makes.
        transform: The transform of the evaluation, from a Pillow image to the tensor [C, H, W].
        images: Pictures of your own for ``transform``, or float tensors [N, C, H, W] for the model.
        labels: The names of the classes, in the order of the outputs.
        forward: ``forward(model, images)`` for when ``model(images)`` does not return what is to be exported.

    Raises:
        OptionError: an argument is missing or has another form, or the answers are random.
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
    options: ExportOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[InspectSettings],
) -> CheckpointReport | ModelReport:
    """Say what a checkpoint or a model file holds, and what a checkpoint would become.

    Args:
        file: An .onnx file, or a folder that ``build`` wrote; or a checkpoint, a Hugging Face folder, the
            name of a model, or a module in memory.
        options: As for ``export``; ignored for a model file.
        report: Called with a sentence as each stage starts.
        settings: Any field of ``ExportOptions``; and ``outputs``, what the outputs of another exporter's file
            mean, see ``EngineOptions``.

    Raises:
        CheckpointError, OptionError: the checkpoint cannot be read or recognised.
        ModelError: the model cannot be read.
    """
    from deploykit_runtimes.errors import OptionError

    from deploykit.model_report import inspect_model, is_model_file

    say = report or (lambda _: None)
    outputs = settings.get("outputs")
    if is_model_file(file):
        say("Opening the model")
        return inspect_model(cast("str | Path", file), outputs=outputs)

    from deploykit_exporters.options import ExportOptions, hints_of
    from deploykit_exporters.precheck import precheck
    from deploykit_exporters.sources.in_memory import source_name
    from deploykit_runtimes.options.option import put_over

    if outputs is not None:
        raise OptionError(
            f"--outputs says what a model file's outputs mean, and {source_name(file)} is a checkpoint.",
            hint="Leave it out: a checkpoint's head says what its outputs mean.",
        )
    refuse_other_fields("inspect()", settings, ("outputs", "options", "report"), ExportOptions)
    chosen = put_over(options, ExportOptions, settings)
    precheck(file, chosen, writes=False)
    say_torch_loads(report)
    from deploykit_exporters.inspect import inspect_checkpoint

    say("Reading the checkpoint")
    return inspect_checkpoint(file, hints=hints_of(chosen), trust=chosen.trust)


def bench(
    model: str | Path,
    *,
    device: str | int | None = None,
    engine: EngineOptions | None = None,
    options: BenchOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[BenchKeywords],
) -> BenchReport:
    """Measure a model on each runtime and batch size, interleaved in one run.

        deploykit.bench("best.onnx", runtimes="ort-cpu,ov-cpu", reference="best.pt")

    Args:
        model: The .onnx file, an engine, or a folder that ``deploykit build`` wrote.
        device: As for ``load``, instead of ``runtimes``.
        engine: How the model is opened.
        options: All options in one object; keywords and ``engine`` take precedence.
        report: Called with a sentence as each stage starts.
        settings: Any field of ``BenchOptions``, documented there: ``runtimes``, ``batches``, ``imgsz``,
            ``reference``, ``runs``, ``seconds``, ``threads``, ...

    Raises:
        OptionError: there is no such runtime, or a value cannot be used.
        DeploykitError: the model cannot be opened, or a runtime cannot run here.
    """
    from deploykit_runtimes.options.option import put_over

    from deploykit.benchmark.options import BenchOptions
    from deploykit.benchmark.run import bench as run

    given = _of_runtimes("bench()", settings, device, engine, BenchOptions)
    return run(model, put_over(options, BenchOptions, given), report=report)


def evaluate(
    models: str | Path | Iterable[str | Path],
    data: str | Path,
    *,
    device: str | int | None = None,
    engine: EngineOptions | None = None,
    options: EvalOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[EvalKeywords],
) -> EvalReport:
    """Measure models on labelled pictures, and compare the others with the first.

        deploykit.evaluate("best.onnx", "data.yaml").models[0].map
        deploykit.evaluate(["best.pt", "best.onnx"], "data.yaml", limit=500).comparisons[0]

    Args:
        models: Model files, and checkpoints, which run in torch; one or several.
        data: A folder of class folders, a list of pictures and classes (.csv, .txt), Ultralytics' data.yaml,
            or COCO's JSON.
        device: As for ``load``, instead of ``runtimes``.
        engine: How model files are opened.
        options: All options in one object; keywords and ``engine`` take precedence.
        report: Called with a sentence as each stage starts; its method ``count(done, total)``, if it has
            one, is called as pictures are done.
        settings: Any field of ``EvalOptions``, which explains them: ``runtimes``, ``conf``, ``limit``, ...

    Raises:
        OptionError: the labels contradict the model's classes, or a value cannot be used.
        InputError: the data, or every picture in it, cannot be read.
        DeploykitError: a model cannot be opened or run.
    """
    from deploykit_runtimes.options.option import put_over

    from deploykit.evaluation.options import EvalOptions
    from deploykit.evaluation.run import evaluate as run

    given = _of_runtimes("evaluate()", settings, device, engine, EvalOptions)
    paths = [models] if isinstance(models, str | Path) else list(models)
    return run(paths, data, put_over(options, EvalOptions, given), report=report)


def quantize(
    model: str | Path,
    *,
    options: QuantizeOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[QuantizeKeywords],
) -> Fp16File | Int8Report:
    """Write a model file in a lower precision, and prove it.

        deploykit.quantize("best.onnx", fp16=True, calib="photos/").path
        deploykit.quantize("best.onnx", int8=True, calib="data.yaml", budget="1%").output

    Args:
        model: The .onnx file in float32.
        options: All options in one object; keywords take precedence.
        report: Called with a sentence as each stage starts.
        settings: Any field of ``QuantizeOptions``, which explains them: ``fp16``, ``int8``, ``calib``,
            ``budget``, ``target``, ``output``, ...

    Returns:
        With ``int8``, ``output`` is None if nothing is faster than float32 on this machine.

    Raises:
        OptionError: there is no such option, or its value cannot be used.
        ModelError: the model is not in float32, or cannot be run.
        InputError: there are no calibration pictures, too few, or none can be read.
        ParityError: the answers differ by more than the budget; nothing is written.
    """
    from deploykit_runtimes.options.option import put_over

    from deploykit.quantization.fp16 import to_fp16
    from deploykit.quantization.int8.run import quantize_int8
    from deploykit.quantization.options import QuantizeOptions

    refuse_other_fields("quantize()", settings, ("options", "report"), QuantizeOptions)
    chosen = put_over(options, QuantizeOptions, settings)
    if chosen.calib is not None and chosen.int8:
        return quantize_int8(model, chosen.calib, chosen.output, chosen.for_int8, report=report)
    return to_fp16(Path(model), chosen, report=report or (lambda _: None))


def _of_runtimes(
    where: str, settings: Mapping[str, Any], device: str | int | None, engine: object, record: type[Options]
) -> dict[str, Any]:
    """Collect the arguments of an operation that runs on several runtimes.

    Raises:
        OptionError: a keyword is unknown, or two contradict each other.
    """
    from deploykit_runtimes.devices import chosen_runtime
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.errors import OptionError
    from deploykit_runtimes.options.option import put_over

    refuse_other_fields(where, settings, ("device", "engine", "options", "report"), record)
    name, given = chosen_runtime(None, device, settings)
    if device is not None:
        if "runtimes" in given:
            raise OptionError(f"{where} takes runtimes or device, found both.", hint="Give one of them.")
        given["runtimes"] = (name,)
    if engine is not None:
        given = {**put_over(engine, EngineOptions, {}, "engine").keywords(), **given}
    return given
