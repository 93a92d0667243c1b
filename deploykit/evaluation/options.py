"""The options of an evaluation, shared by the command line and Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploykit_exporters.options import CheckpointOptions
from deploykit_runtimes.engine_options import EngineKeywords, EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import declared, option, same_as
from deploykit_runtimes.prediction.options import PredictOptions

from deploykit.evaluation.data.classes import Matching

__all__ = ["EvalKeywords", "EvalOptions"]


class EvalKeywords(EngineKeywords, total=False):
    """The fields of ``EvalOptions`` as keywords, in every accepted form."""

    runtimes: str | Iterable[str]
    conf: float | None
    iou: float
    max_det: int
    rect: bool
    imgsz: int | str | tuple[int, int] | None
    limit: int | None
    seed: int
    split: str
    matching: Matching
    labels: str | Path | Iterable[str] | Mapping[int, str] | None
    images: str | Path | None
    unlabelled: bool
    fresh: bool
    batch: int
    workers: int | None
    resamples: int


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class EvalOptions(EngineOptions):
    """What is measured, and how the engines are opened."""

    runtimes: tuple[str, ...] = option(
        ("ort-cpu",),
        "Engines that run each model file: ort-cpu (default), ov-cpu, ort-cuda, trt, ...; a checkpoint runs "
        "in torch. May be given several times.",
        form="names",
        flags="--runtime",
        several=True,
        metavar="NAME[,NAME]",
        completes="runtimes",
    )
    conf: float | None = option(
        None,
        "Lowest score that counts. Default: 0.001, or 0.01 for rotated boxes.",
        least=0,
        most=1,
        metavar="P",
    )
    iou: float = option(0.7, "Overlap above which a box is suppressed.", least=0, most=1, metavar="P")
    max_det: int = option(300, "Maximum number of detections per image.", least=1, metavar="N")
    rect: bool = option(
        False,
        "Ultralytics' rectangular batches, for models that take any size.",
        "Ultralytics' ``val`` uses them by default for PyTorch and dynamic models; off: squares, like "
        "rect=False.",
    )
    imgsz: tuple[int, int] | None = same_as(PredictOptions, "imgsz")
    limit: int | None = option(None, "Measure N pictures, drawn at random by --seed.", least=1, metavar="N")
    seed: int = option(0, "Seed for --limit and for the draws of intervals.", least=0, metavar="N")
    split: str = option("val", "Which part of a data set that has several: val, test, train.", metavar="NAME")
    matching: Matching = option(
        "exact",
        "How classes of the labels are matched to the model's: names and order must agree; by name; by "
        "number.",
        flags="--match",
        form="choice",
        choices=("exact", "names", "order"),
    )
    labels: Path | tuple[str, ...] | None = same_as(CheckpointOptions, "labels")
    images: Path | None = option(
        None,
        "The folder of COCO's pictures, if it is not beside the JSON file.",
        path="folder",
        metavar="DIR",
    )
    unlabelled: bool = option(False, "Count a picture without a label file as one without objects.")
    fresh: bool = option(False, "Start over, instead of resuming an interrupted run.")
    batch: int = option(
        8, "Images per call of the engine, if the model's batch is dynamic.", least=1, metavar="N"
    )
    workers: int | None = option(
        None,
        "Threads that decode pictures. Default: 4, or fewer on a machine with fewer cores.",
        least=1,
        most=256,
        metavar="N",
    )
    resamples: int = option(
        1000, "Bootstrap draws for the interval of an mAP difference.", least=1, metavar="N"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        from deploykit_exporters.option_values import as_labels

        object.__setattr__(self, "labels", as_labels(self.labels))
        if not self.runtimes:
            raise OptionError("An evaluation needs at least one runtime, found none.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The given class names, or those of the given file; empty if there are none.

        Raises:
            OptionError: the file cannot be read.
        """
        if isinstance(self.labels, Path):
            from deploykit_exporters.containers.labels import read_labels

            return read_labels(self.labels)
        return self.labels or ()
