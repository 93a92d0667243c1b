"""Options of an export, and of everything else that reads a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from deploykit_runtimes.contract.axes import AXES
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.arguments import suggestion
from deploykit_runtimes.options.option import Options, declared, option, same_as
from deploykit_runtimes.prediction.options import PredictOptions

from deploykit_exporters.option_values import ExporterName, as_axes, as_config, as_labels, read_config

if TYPE_CHECKING:
    from deploykit_exporters.families.base import Hints

__all__ = [
    "CHECKPOINT_ITSELF",
    "BisectOptions",
    "CheckpointOptions",
    "ExportKeywords",
    "ExportOptions",
    "VerifyOptions",
    "hints_of",
]

CHECKPOINT_ITSELF = "torch"
"""The reference of a bisection that is not another engine."""


class ExportKeywords(TypedDict, total=False):
    """The fields of ``ExportOptions`` as keywords, in every form that is understood, but those of what is
    written: ``output``, ``precision`` and ``calib``."""

    dynamic: bool | str | Iterable[str]
    imgsz: int | str | tuple[int, int] | None
    batch: int
    opset: int | None
    family: str | None
    variant: str | None
    origin: str | None
    config: str | Path | Mapping[str, Any] | None
    labels: str | Path | Iterable[str] | Mapping[int, str] | None
    weights: str | None
    head: str | None
    head_activation: str | None
    ignore: str | Iterable[str]
    witness: bool
    golden_cases: bool
    golden: str | Path | None
    features: bool
    preprocess: bool
    postprocess: bool
    top_k: int | None
    conf: float | None
    iou: float | None
    max_det: int | None
    class_agnostic: bool
    runtime_thresholds: bool
    masks: bool
    simplify: bool
    trust: bool
    exporter: ExporterName | None


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class CheckpointOptions(Options):
    """How a checkpoint is read. Everything has a default taken from the checkpoint."""

    family: str | None = option(
        None, "vit, efficientnet, crossformer or yolo.", metavar="F", completes="families"
    )
    variant: str | None = option(None, "Architecture, instead of the recognised one.", metavar="V")
    origin: str | None = option(None, "Training library: timm, torchvision, transformers, ...", metavar="O")
    config: Path | Mapping[str, Any] | None = option(
        None,
        "Training configuration: a file, which is never executed, or '{\"num_heads\": 6}'.",
        "YAML, JSON, or a Python file of plain assignments; a JSON object as text, or a mapping. For the "
        "bare weights of an Ultralytics network: its yaml, or the name of one that comes with ultralytics.",
        form="own",
        metavar="FILE|JSON",
        completes="files",
    )
    weights: str | None = option(
        None,
        "Which weights, if the file holds several sets or networks: ema, state_dict.teacher.",
        "A set is named by its key, a network in one state dict by the start of its keys.",
        metavar="KEY",
    )
    head: str | None = option(
        None,
        "Which head, if the model has several.",
        "Named by the start of its keys; for YOLOv10 and YOLO26 ``one-to-one`` or ``one-to-many``.",
        metavar="NAME",
    )
    head_activation: str | None = option(
        None,
        "Activation between the layers of a head: gelu, relu, ...",
        "Also ``silu``, ``tanh`` and ``none``.",
        metavar="NAME",
    )
    ignore: tuple[str, ...] = option(
        (),
        "A setting, tensor or call in the checkpoint that does not matter. May be repeated.",
        "``name`` or ``where:name``.",
        form="words",
        several=True,
        metavar="NAME",
    )
    imgsz: tuple[int, int] | None = option(
        None,
        "Input size, instead of the model's own.",
        "A side, or (height, width), in pixels.",
        form="size",
        metavar="H[,W]",
    )
    labels: Path | tuple[str, ...] | None = option(
        None,
        "Class names, one per line, or JSON or YAML.",
        'Or the names themselves, in a list or by index as in Ultralytics: ``{0: "cat", 1: "dog"}``. '
        "``containers/labels.py`` lists every form of a file.",
        form="own",
        path="file",
        metavar="FILE",
    )
    features: bool = option(False, "Feature maps instead of the head.")
    trust: bool = option(False, "Allow the checkpoint to execute code while it is read.")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "config", as_config(self.config))
        object.__setattr__(self, "labels", as_labels(self.labels))
        if self.family is not None:
            self._check_family(self.family)

    @staticmethod
    def _check_family(family: str) -> None:
        from deploykit_exporters.families.registry import family_names

        if family not in family_names():
            known = family_names()
            raise OptionError(
                f"--family {family} is not one of {', '.join(known)}.",
                hint=suggestion(family, known),
            )


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class ExportOptions(CheckpointOptions):
    """How a checkpoint is exported. Everything has a default taken from the checkpoint.

    Values are brought into the form of their field: a text becomes a path, ``imgsz=224`` a square,
    ``dynamic="batch"`` or ``dynamic=True`` the axes.
    """

    output: Path | None = option(
        None, "File to write. Default: next to the checkpoint.", flags=("-o", "--output"), metavar="OUT.onnx"
    )
    dynamic: tuple[str, ...] = option(
        (),
        f"Axes to make dynamic, joined by commas: {','.join(AXES)}. Without a value: all that the "
        "model allows.",
        "In Python, ``True`` means all.",
        form="own",
        several=True,
        metavar="[AXES]",
        completes="axes",
    )
    batch: int = option(1, "Batch size if it is fixed.", least=1, most=4096, metavar="N")
    opset: int | None = option(
        None,
        "ONNX operator set.",
        "None: the newest that ONNX Runtime, OpenVINO and TensorRT all take.",
        least=18,
        most=23,
        metavar="N",
    )
    preprocess: bool = option(False, "Take raw uint8 images [N,H,W,3] of any size.")
    postprocess: bool = option(False, "Return final answers: classes, or boxes after NMS.")
    top_k: int | None = same_as(PredictOptions, "top_k", help="Classes returned by --postprocess.")
    conf: float | None = same_as(
        PredictOptions,
        "conf",
        help="Lowest score of a detection to keep.",
        more="Built in by ``postprocess``; without it, the host's default. None: the checkpoint's own.",
    )
    iou: float | None = same_as(PredictOptions, "iou", more="Handled like ``conf``.")
    max_det: int | None = same_as(PredictOptions, "max_det", more="Handled like ``conf``.")
    class_agnostic: bool = option(False, "Let better boxes of any class suppress a box.")
    runtime_thresholds: bool = option(False, "Make conf and iou inputs of the graph.")
    masks: bool = option(False, "Return segmentation masks at the size of the image.")
    simplify: bool = option(
        True, "Leave the graph as the exporter wrote it.", "True: fold and fuse with onnxsim."
    )
    golden: Path | None = option(
        None,
        "Compare with the answers recorded in training: deploykit.record(model, FILE).",
        path="file",
        metavar="FILE",
    )
    witness: bool = option(
        True,
        "Do not compare with the training library's own model.",
        "True: compare if it is installed.",
    )
    golden_cases: bool = option(
        True,
        "Leave the golden cases out of the file.",
        "True: include them, so that every engine can be tested with them (``self_test``).",
        flags="--no-golden",
    )
    exporter: ExporterName | None = option(
        None, "Exporter of torch. Default: the one that measured better for the family."
    )
    precision: Literal["fp32", "fp16"] = option(
        "fp32", "Precision of the file; fp16 keeps float32 where measurements show that it is needed."
    )
    calib: Path | None = option(
        None,
        "Pictures to measure on for --precision fp16: a folder, class folders, or Ultralytics' data.yaml. "
        "Default: the golden cases and a photo.",
        metavar="DIR|data.yaml",
        completes="files",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "dynamic", as_axes(self.dynamic))
        self._check_processing()
        if self.calib is not None and self.precision == "fp32":
            raise OptionError(
                "--calib gives pictures for a lower precision, which was not requested.",
                hint="Add --precision fp16.",
            )
        if self.batch != 1 and {"batch", "all"} & set(self.dynamic):
            raise OptionError(
                f"--dynamic makes the batch dynamic, --batch {self.batch} fixes it: they exclude each other.",
                hint="Leave --batch out, or name the other axes: --dynamic height,width.",
            )

    def _check_processing(self) -> None:
        inside = {
            "--top-k": self.top_k,
            "--runtime-thresholds": self.runtime_thresholds,
            "--masks": self.masks,
        }
        needless = [name for name, value in inside.items() if value]
        if needless and not self.postprocess:
            raise OptionError(
                f"{' and '.join(needless)} affect post-processing inside the graph, which was not requested.",
                hint="Add --postprocess.",
            )
        if self.masks and not self.preprocess:
            raise OptionError(
                "--masks needs the size of the image, which the graph sees only with --preprocess.",
                hint="Add --preprocess, or leave --masks out: predict draws masks either way.",
            )


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class VerifyOptions(Options):
    """How far a model file may be from its checkpoint."""

    tolerance: float | None = option(
        None,
        "Allowed difference, as a share of an output's scale.",
        "For a file with pre- or post-processing inside: of a score. None: 1e-4, or 1e-3 for such a file; "
        "for float16 1e-2, or 5e-2.",
        above=0,
        most=1,
        metavar="SHARE",
    )


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class BisectOptions(Options):
    """How the first layer that differs is looked for."""

    tolerance: float | None = same_as(
        VerifyOptions,
        "tolerance",
        more="With --bisect: of the largest value of each tensor between two layers. None: 1e-4, for "
        "float16 1e-2; of outputs on a CPU half of what the golden cases allow, if that is less.",
    )
    against: str = option(
        CHECKPOINT_ITSELF,
        "With --bisect: what the engine is compared with: torch (the checkpoint), ort-unoptimised (the file "
        "in ONNX Runtime, node for node), or another runtime.",
        metavar="NAME",
    )


def hints_of(options: CheckpointOptions) -> Hints:
    """The hints for recognition that the options hold, with their files read.

    Raises:
        OptionError: a file is missing or not of the form described in ``CheckpointOptions``.
    """
    from deploykit_exporters.containers.labels import read_labels
    from deploykit_exporters.families.base import Hints

    return Hints(
        family=options.family,
        variant=options.variant,
        origin=options.origin,
        config=read_config(options.config) if isinstance(options.config, Path) else options.config,
        labels=read_labels(options.labels) if isinstance(options.labels, Path) else options.labels,
        imgsz=options.imgsz,
        features=options.features,
        weights=options.weights,
        head=options.head,
        head_activation=options.head_activation,
        ignore=options.ignore,
    )
