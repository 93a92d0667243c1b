"""The operations of the facade. Each has the defaults of its command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploykit_exporters.export import ExportResult
    from deploykit_exporters.inspect import CheckpointReport
    from deploykit_exporters.options import ExportOptions
    from deploykit_exporters.verify import VerifyResult

    from deploykit.benchmark.report import BenchReport

__all__ = ["bench", "export", "inspect", "verify"]


def export(
    checkpoint: str | Path,
    output: str | Path | None = None,
    *,
    dynamic: bool | Iterable[str] = False,
    imgsz: int | tuple[int, int] | None = None,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Export a checkpoint to one ONNX file and prove that it gives the checkpoint's answers.

    Args:
        checkpoint: A file or folder, or a name such as ``timm:vit_base_patch16_224``.
        output: The .onnx file to write; None: beside the checkpoint.
        dynamic: True frees every axis that the architecture allows; or the names of the axes among
            ``batch``, ``height``, ``width``.
        imgsz: Size in pixels, one number for a square or (height, width).
        options: Everything else; ``output``, ``dynamic`` and ``imgsz`` given here win over it.

    Raises:
        DeploykitError: see ``deploykit_exporters.export.export``.
    """
    from dataclasses import replace

    from deploykit_exporters.export import export as run
    from deploykit_exporters.options import ExportOptions

    options = options or ExportOptions()
    if output is not None:
        options = replace(options, output=Path(output))
    if dynamic is not False:
        options = replace(options, dynamic=("all",) if dynamic is True else tuple(dynamic))
    if imgsz is not None:
        options = replace(options, imgsz=(imgsz, imgsz) if isinstance(imgsz, int) else imgsz)
    return run(checkpoint, options)


def verify(checkpoint: str | Path, model: str | Path, images: Sequence[str | Path] = ()) -> VerifyResult:
    """Compare a model file with its checkpoint again, on noise, a photo and the given images.

    Raises:
        ParityError: the answers differ beyond the tolerance.
    """
    from deploykit_exporters.verify import verify as run

    return run(checkpoint, model, images)


def inspect(checkpoint: str | Path) -> CheckpointReport:
    """Say what a checkpoint holds and what it would become.

    Raises:
        CheckpointError: it cannot be read or recognised.
    """
    from deploykit_exporters.inspect import inspect_checkpoint

    return inspect_checkpoint(checkpoint)


def bench(
    model: str | Path,
    *,
    runtimes: Sequence[str] = ("ort-cpu",),
    batches: Sequence[int] = (),
    imgsz: int | tuple[int, int] | None = None,
    seconds: float = 5.0,
) -> BenchReport:
    """Measure a model on each runtime and batch size, interleaved in one run.

    Args:
        model: The .onnx file.
        runtimes: Engines by name; see ``deploykit_runtimes.open.available_runtimes``.
        batches: Batch sizes to measure; none: the model's own.
        imgsz: Size in pixels, where the model's is dynamic.
        seconds: Time to spend on each row.

    Raises:
        DeploykitError: the model cannot be opened, or a runtime cannot run here.
    """
    from deploykit.benchmark.run import BenchOptions
    from deploykit.benchmark.run import bench as run

    size = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    options = BenchOptions(runtimes=tuple(runtimes), batches=tuple(batches), imgsz=size, seconds=seconds)
    return run(model, options)
