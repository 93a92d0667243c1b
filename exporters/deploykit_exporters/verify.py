"""The proof again, later, on the user's own images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.contract.readings import refuse_unclear
from deploykit_runtimes.contract.spec import ModelSpec, ParityRecord, Task
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError, ParityError
from deploykit_runtimes.onnx.model_file import looks_like_onnx
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.listing import list_images
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.runner import Runner

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel
from deploykit_exporters.golden.file import Golden, read_golden
from deploykit_exporters.golden.prove import GoldenProof
from deploykit_exporters.graph.loading import load_graph
from deploykit_exporters.load import LoadedCheckpoint, load_checkpoint
from deploykit_exporters.options import ExportOptions, hints_of
from deploykit_exporters.proof.answers import SCORE_LIMIT, answer_photos, prove_answers
from deploykit_exporters.proof.float64 import Float64Reference
from deploykit_exporters.proof.pictures import of_allowed_size
from deploykit_exporters.proof.raised import telling, with_answers
from deploykit_exporters.proof.tensors import FP32_TOLERANCE, image_case, looser, proof_cases, prove
from deploykit_exporters.proof.torch_runner import TorchRunner
from deploykit_exporters.self_contained import host_spec
from deploykit_exporters.sources.in_memory import Source, source_name
from deploykit_exporters.torch_temporaries import no_compiler_cache

if TYPE_CHECKING:
    import onnx

__all__ = ["VerifyResult", "verify"]


@dataclass(frozen=True, kw_only=True, repr=False)
class VerifyResult:
    """What a verification measured. It exists only when the tolerance was kept.

    Attributes:
        checkpoint, model: The two sides.
        parity: The measurement.
        images: The user's images that took part.
        task: What the model answers.
    """

    checkpoint: str
    model: Path
    parity: ParityRecord
    images: tuple[Path, ...]
    task: Task

    def __repr__(self) -> str:
        off = f"off by {self.parity.max_rel:.1e}, allowed {self.parity.tolerance:.0e}"
        return f"VerifyResult({self.model} against {self.checkpoint}: {off}, {len(self.images)} images)"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "checkpoint": self.checkpoint,
            "model": str(self.model),
            "task": self.task,
            "images": [str(path) for path in self.images],
            "parity": asdict(self.parity),
            "passed": True,
        }


@no_compiler_cache()
def verify(
    checkpoint: Source,
    model: str | Path,
    images: str | Path | Iterable[str | Path] = (),
    *,
    options: ExportOptions | None = None,
    runtime: str = "ort-cpu",
    engine: EngineOptions | None = None,
    tolerance: float | None = None,
    report: Callable[[str], None] | None = None,
    count: Callable[[int, int], None] = lambda _done, _total: None,
) -> VerifyResult:
    """Compare a model file with the checkpoint it was exported from.

    Args:
        checkpoint: The checkpoint, its name, or the module.
        model: The .onnx file, an engine, or a folder that ``deploykit build`` wrote.
        images: Image files, folders or patterns, one or several, pre-processed as ``predict`` does it;
            noise and a photo are added.
        options: The options that were given to the export, where they change the model.
        runtime: The engine that runs the model.
        engine: How it is opened; see ``EngineOptions``. Always ``exact``: the proof is of the file.
        tolerance: Largest difference allowed, as a share of each output's scale; of a file with processing
            inside, of a score. None: 1e-4, or 1e-3 for such a file; of a float16 file 1e-2 and 5e-2.
        report: Called with a sentence as each stage starts.
        count: Called with the number of inputs that were compared, and of all.

    Raises:
        ParityError: beyond the tolerance.
        ModelError: the model was exported from something with other inputs or outputs, or it is not known
            what its outputs mean.
        InputError: one of the images cannot be read.
    """
    paths = tuple(list_images(images))
    say = report or (lambda _: None)
    options = options or ExportOptions()
    golden = None if options.golden is None else read_golden(options.golden)
    say("Opening the model")
    engine = replace(engine or EngineOptions(), exact=True)
    with open_runner(model, runtime=runtime, options=engine) as candidate:
        spec = candidate.spec
        refuse_unclear(spec, candidate.outputs)
        size = (spec.tensor.height, spec.tensor.width)
        hints = hints_of(replace(options, features=options.features or spec.task == "features"))
        say("Reading the checkpoint")
        loaded = load_checkpoint(checkpoint, replace(hints, imgsz=hints.imgsz or size), trust=options.trust)
        other = _other_source(loaded.checkpoint, spec)
        _check_same_interface(loaded.built.spec, spec, other)
        with _blaming(other):
            if spec.preprocess.included or spec.is_postprocessed:
                say(f"Comparing the answers for {len(paths)} images and {len(answer_photos())} of our own")
                record = _compare_whole(
                    loaded.built,
                    candidate,
                    paths,
                    tolerance or SCORE_LIMIT * looser(spec, 50),
                    again=_Again(Path(model), runtime, engine),
                    count=count,
                )
            else:
                say(f"Comparing {len(paths)} images and {len(proof_cases(spec))} inputs of our own")
                allowed = tolerance or FP32_TOLERANCE * looser(spec, 100)
                record = _compare_tensors(loaded.built, candidate, paths, allowed, count)
            if golden is not None:
                say("Comparing with the answers of the training process")
                record = _compare_golden(golden, loaded, candidate, record)
    return VerifyResult(
        checkpoint=source_name(checkpoint), model=Path(model), parity=record, images=paths, task=spec.task
    )


def _compare_tensors(
    built: BuiltModel,
    candidate: Runner,
    paths: Sequence[Path],
    tolerance: float,
    count: Callable[[int, int], None],
) -> ParityRecord:
    spec = candidate.spec
    wanted = PixelFormat.of(spec)
    cases = [image_case(read_image(path, wanted), spec, name=path.name) for path in paths]
    with TorchRunner(built, spec) as reference:
        return prove(
            reference,
            candidate,
            built.groups,
            (*cases, *proof_cases(spec)),
            tolerance=tolerance,
            exact=Float64Reference(built.module, spec.output.names),
            count=count,
        )


def _compare_golden(
    golden: Golden, loaded: LoadedCheckpoint, candidate: Runner, record: ParityRecord
) -> ParityRecord:
    """Of a file with processing inside, the checkpoint and what the file says of its pre-processing."""
    built, spec = loaded.built.spec, candidate.spec
    inside = spec.preprocess.included or spec.is_postprocessed
    core = replace(built, input=spec.tensor, preprocess=spec.preprocess, classes=spec.classes)
    return GoldenProof(golden, loaded, core).on_record(record, None if inside else candidate)


@dataclass(frozen=True)
class _Again:
    """The graph that is verified, and how a copy of it is opened in the same engine."""

    model: Path
    runtime: str
    engine: EngineOptions

    def graph(self) -> onnx.ModelProto:
        if looks_like_onnx(self.model):
            return load_graph(self.model)
        import onnx

        return onnx.ModelProto()  # An engine, in which nothing can be raised.

    def open(self, copy: Path) -> Runner:
        engine = replace(self.engine, cache=copy.parent)
        return open_runner(copy, runtime=self.runtime, options=engine)


def _compare_whole(
    built: BuiltModel,
    candidate: Runner,
    paths: Sequence[Path],
    tolerance: float,
    *,
    again: _Again,
    count: Callable[[int, int], None],
) -> ParityRecord:
    """A file with processing inside is compared from image to answer: it gives nothing else."""
    spec = candidate.spec
    wanted = PixelFormat.of(spec)
    core = host_spec(built.spec, spec)
    own = {name: of_allowed_size(image, core) for name, image in answer_photos(wanted).items()}
    images = {str(path): read_image(path, wanted) for path in paths} | own
    reference = TorchRunner(built, core)
    found = prove_answers(
        Predictor(reference), Predictor(candidate), images, spec.output, limit=tolerance, count=count
    )
    raised = telling(built, again.graph, core, spec, images=images, found=found, opener=again.open)
    record = ParityRecord(
        max_abs=found.score,
        max_rel=found.score,
        top1=1.0,
        tolerance=tolerance,
        shapes=tuple(dict.fromkeys("x".join(map(str, image.shape)) for image in images.values())),
        inputs=tuple(images),
        reference=reference.placement().title,
        engine=candidate.placement().title,
    )
    return with_answers(record, raised)


def _other_source(checkpoint: Checkpoint, spec: ModelSpec) -> str:
    """That the model came from another file, in a sentence; empty when it did not, or does not say."""
    if not spec.source_sha256 or spec.source_sha256 == checkpoint.sha256:
        return ""
    source = f"{spec.source} " if spec.source else ""
    return (
        f"This model was exported from another file: {source}(sha256 {spec.source_sha256[:12]}...), "
        f"{checkpoint.path.name} has {checkpoint.sha256[:12]}..."
    )


@contextmanager
def _blaming(other: str) -> Iterator[None]:
    """A failure is reported with its likeliest reason, if there is one."""
    try:
        yield
    except ParityError as error:
        if not other:
            raise
        raise ParityError(error.problem, hint=other) from error


def _check_same_interface(built: ModelSpec, found: ModelSpec, other: str) -> None:
    same_outputs = found.is_postprocessed or built.output.names == found.output.names
    if built.task != found.task or not same_outputs or built.num_classes != found.num_classes:
        raise ModelError(
            f"The checkpoint is {built.variant} with {built.num_classes} classes and the outputs "
            f"{', '.join(built.output.names)}; the model is {found.variant} with {found.num_classes} classes "
            f"and the outputs {', '.join(found.output.names)}.",
            hint=other
            or "Give the checkpoint that the model was exported from, with the same --family, --variant "
            "and --features.",
        )
