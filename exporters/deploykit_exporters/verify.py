"""The proof again, later, on the user's own images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.images import read_image
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.spec import ModelSpec, ParityRecord

from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions, hints_of
from deploykit_exporters.parity import FP32_TOLERANCE, Case, image_case, proof_cases, prove
from deploykit_exporters.reference import TorchRunner

__all__ = ["VerifyResult", "verify"]


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What a verification measured. It exists only when the tolerance was kept.

    Attributes:
        checkpoint, model: The two sides.
        parity: The measurement.
        images: The user's images that took part.
    """

    checkpoint: str
    model: Path
    parity: ParityRecord
    images: tuple[Path, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "checkpoint": self.checkpoint,
            "model": str(self.model),
            "images": [str(path) for path in self.images],
            "parity": asdict(self.parity),
            "passed": True,
        }


def verify(
    checkpoint: str | Path,
    model: str | Path,
    images: Sequence[str | Path] = (),
    *,
    options: ExportOptions | None = None,
    runtime: str = "ort-cpu",
    tolerance: float = FP32_TOLERANCE,
    report: Callable[[str], None] | None = None,
) -> VerifyResult:
    """Compare a model file with the checkpoint it was exported from.

    Args:
        checkpoint: The checkpoint, or its name.
        model: The .onnx file.
        images: Image files, pre-processed as ``predict`` does it; noise and a photo are added.
        options: The options that were given to the export, where they change the model.
        runtime: The engine that runs the model.
        tolerance: Largest difference allowed, as a share of each output's scale.
        report: Called with a sentence as each stage starts.

    Raises:
        ParityError: beyond the tolerance.
        ModelError: the model was exported from something with other inputs or outputs.
    """
    say = report or (lambda _: None)
    say("Opening the model")
    with open_runner(model, runtime=runtime) as candidate:
        spec = candidate.spec
        options = options or ExportOptions()
        size = (spec.input.height, spec.input.width)
        hints = hints_of(replace(options, features=options.features or spec.task == "features"))
        say("Reading the checkpoint")
        loaded = load_checkpoint(checkpoint, replace(hints, imgsz=hints.imgsz or size), trust=options.trust)
        _check_same_interface(loaded.built.spec, spec)
        cases: list[Case] = []
        paths = tuple(Path(path) for path in images)
        cases += [image_case(read_image(path), spec, name=path.name) for path in paths]
        cases += proof_cases(spec)
        say(f"Comparing {len(cases)} inputs")
        with TorchRunner(loaded.built, spec) as reference:
            record = prove(reference, candidate, loaded.built.groups, cases, tolerance=tolerance)
    return VerifyResult(checkpoint=str(checkpoint), model=Path(model), parity=record, images=paths)


def _check_same_interface(built: ModelSpec, found: ModelSpec) -> None:
    if built.output.names != found.output.names or built.num_classes != found.num_classes:
        raise ModelError(
            f"The checkpoint is {built.variant} with {built.num_classes} classes and the outputs "
            f"{', '.join(built.output.names)}; the model is {found.variant} with {found.num_classes} classes "
            f"and the outputs {', '.join(found.output.names)}.",
            hint="Give the checkpoint that the model was exported from, with the same --family, --variant "
            "and --features.",
        )
