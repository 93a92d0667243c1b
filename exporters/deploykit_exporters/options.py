"""Options of an export, and the files that some of them name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast, get_args

from deploykit_runtimes.arguments import (
    as_count,
    as_flag,
    as_number,
    as_path,
    as_size,
    as_words,
    known_fields,
    suggestion,
)
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.text.described import changed_fields

from deploykit_exporters.containers.labels import names_from, parse_settings, read_labels, read_text
from deploykit_exporters.families.base import ExporterName, Hints
from deploykit_exporters.families.registry import family_names

__all__ = ["AXES", "ExportKeywords", "ExportOptions", "hints_of", "read_config"]

AXES = ("batch", "height", "width")
_OPSETS = range(18, 24)
_ULTRALYTICS = re.compile(r"yolo[\w-]*\.ya?ml")
_FLAGS = (
    *("features", "preprocess", "postprocess", "class_agnostic", "runtime_thresholds", "masks"),
    *("simplify", "trust", "witness", "golden_cases"),
)


class ExportKeywords(TypedDict, total=False):
    """The fields of ``ExportOptions`` but ``output`` as keywords, in every form that is understood."""

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


@known_fields
@dataclass(frozen=True, kw_only=True, repr=False)
class ExportOptions:
    """How a checkpoint is exported. Everything has a default taken from the checkpoint.

    Values are brought into the form of their field: a text becomes a path, ``imgsz=224`` a square,
    ``dynamic="batch"`` or ``dynamic=True`` the axes.

    Attributes:
        output: The .onnx file to write; None: beside the checkpoint.
        dynamic: Axes among ``batch``, ``height``, ``width`` that stay free; ``("all",)`` frees every
            axis that the architecture allows.
        imgsz: (height, width) in pixels.
        batch: Batch size when the axis is fixed.
        opset: ONNX operator set; None: the newest that every engine takes.
        family, variant, origin: Override what is recognised.
        config: A training configuration: a file (YAML, JSON, or a Python file of plain assignments, which is
            parsed and never executed), a JSON object as text, or a mapping; for the weights of an Ultralytics
            network alone the yaml of the network, or the name of one that comes with ultralytics.
        labels: Class names: a file with one per line, a JSON list or object, or a YAML file with
            ``names`` (``labels.py`` lists every form); or the names themselves, also by their index as
            Ultralytics has them: ``{0: "cat", 1: "dog"}``.
        weights: Which of several sets of weights in the file, by its key (``ema``), or which of several
            networks in one state dict, by the start of their names (``teacher``, ``state_dict.teacher``).
        head: Which of several heads, by the start of its keys; of YOLOv10 and YOLO26 ``one-to-one`` or
            ``one-to-many``.
        head_activation: What stands between the layers of a classifier with several: ``gelu``, ``relu``,
            ``silu``, ``tanh``, ``none``, ...
        ignore: Settings, tensors and code of the checkpoint that do not matter: ``name`` or ``where:name``.
        witness: Compare with the model that the origin's own library builds, where it is installed.
        golden_cases: Put golden cases into the file, by which every engine can test itself (``self_test``).
        golden: Answers that ``deploykit.record`` took where the model was trained, to prove against.
        features: Export the feature maps instead of the head.
        preprocess: Put the pre-processing inside the graph, which then takes raw uint8 images
            [N, H, W, 3] of any height and width.
        postprocess: Put the post-processing inside the graph, which then returns finished answers.
        top_k: Number of classes of a classification, for ``postprocess``.
        conf, iou, max_det, class_agnostic: Thresholds of a detection that are built into the graph by
            ``postprocess``, and defaults of the host without it; None: the checkpoint's own.
        runtime_thresholds: Make conf and iou inputs of the graph instead.
        masks: Return the masks of a segmentation at the size of the input, for ``postprocess``.
        simplify: Fold and fuse with onnxsim.
        trust: Allow unpickling that can execute code of the file.
        exporter: ``torchscript`` or ``dynamo``; None: what was measured better for the family.
    """

    output: Path | None = None
    dynamic: tuple[str, ...] = ()
    imgsz: tuple[int, int] | None = None
    batch: int = 1
    opset: int | None = None
    family: str | None = None
    variant: str | None = None
    origin: str | None = None
    config: Path | Mapping[str, Any] | None = None
    labels: Path | tuple[str, ...] | None = None
    weights: str | None = None
    head: str | None = None
    head_activation: str | None = None
    ignore: tuple[str, ...] = ()
    witness: bool = True
    golden_cases: bool = True
    golden: Path | None = None
    features: bool = False
    preprocess: bool = False
    postprocess: bool = False
    top_k: int | None = None
    conf: float | None = None
    iou: float | None = None
    max_det: int | None = None
    class_agnostic: bool = False
    runtime_thresholds: bool = False
    masks: bool = False
    simplify: bool = True
    trust: bool = False
    exporter: ExporterName | None = None

    def __repr__(self) -> str:
        return changed_fields(self)

    def __post_init__(self) -> None:
        for name, value in self._in_their_form().items():
            object.__setattr__(self, name, value)
        self._check_processing()
        self._check_names()
        if self.batch != 1 and {"batch", "all"} & set(self.dynamic):
            raise OptionError(
                f"--dynamic makes the batch dynamic, --batch {self.batch} fixes it: they exclude each other.",
                hint="Leave --batch out, or name the other axes: --dynamic height,width.",
            )
        if self.opset is not None and self.opset not in _OPSETS:
            raise OptionError(
                f"--opset wants {_OPSETS.start} to {_OPSETS.stop - 1}, found {self.opset}.",
                hint="Leave it out for the opset that ONNX Runtime, OpenVINO and TensorRT all take.",
            )

    def _in_their_form(self) -> dict[str, object]:
        return {
            "output": as_path(self.output, "-o"),
            "dynamic": _as_axes(self.dynamic),
            "imgsz": as_size(self.imgsz, "--imgsz"),
            "batch": as_count(self.batch, "--batch"),
            "config": _as_config(self.config),
            "labels": _as_labels(self.labels),
            "ignore": as_words(self.ignore, "--ignore"),
            "golden": as_path(self.golden, "--golden"),
            **self._each(_FLAGS, as_flag),
            **self._each(("top_k", "max_det"), as_count),
            **self._each(("conf", "iou"), as_number),
        }

    def _each(self, names: Iterable[str], form: Callable[[object, str], object]) -> dict[str, object]:
        """The given fields in their form; None stays what it is."""
        values = {name: getattr(self, name) for name in names}
        return {
            name: form(value, f"--{name.replace('_', '-')}")
            for name, value in values.items()
            if value is not None
        }

    def _check_names(self) -> None:
        for name, known in (("family", family_names()), ("exporter", get_args(ExporterName))):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise OptionError(
                    f"--{name} {value} is not one of {', '.join(known)}.", hint=suggestion(str(value), known)
                )

    def _check_processing(self) -> None:
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise OptionError(f"--{name} wants a number in 0..1, found {value:g}.")
        for name, value in (("top-k", self.top_k), ("max-det", self.max_det)):
            if value is not None and value < 1:
                raise OptionError(f"--{name} wants at least 1, found {value}.")
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


def hints_of(options: ExportOptions) -> Hints:
    """The hints for recognition that the options hold, with their files read.

    Raises:
        OptionError: a file is missing or not of the form described in ``ExportOptions``.
    """
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


def _as_axes(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("all",) if value else ()
    axes = as_words(value, "--dynamic")
    known = (*AXES, "all")
    unknown = [axis for axis in axes if axis not in known]
    if unknown:
        raise OptionError(
            f"--dynamic takes {', '.join(AXES)} or all, found {', '.join(map(repr, unknown))}.",
            hint=suggestion(unknown[0], known),
        )
    return axes


def _as_config(value: object) -> Path | Mapping[str, Any] | None:
    """A file, or settings given as a mapping or as the text of a JSON object."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return as_path(value, "--config")
    from deploykit_exporters.containers.texts import parse_json

    try:
        settings = parse_json(value)
    except ValueError as error:
        raise OptionError(
            f"--config cannot be parsed as JSON: {error}.",
            hint="""A file, or an object in quotes: --config '{"num_heads": 6}'""",
        ) from error
    return cast("Mapping[str, Any]", settings)


def _as_labels(value: object) -> Path | tuple[str, ...] | None:
    if value is None or isinstance(value, str | Path):
        return as_path(value, "--labels")
    names = names_from(value) if isinstance(value, Mapping) else as_words(value, "--labels")
    if not names:
        raise OptionError("--labels wants a file or at least one class name, found none.")
    return names


def read_config(path: Path) -> Mapping[str, Any]:
    """Parse a training configuration; Python text comes back under the key ``text``, and the name of a yaml
    that comes with ultralytics (``yolo11n.yaml``) under ``yaml``, where there is no such file."""
    if _ULTRALYTICS.fullmatch(str(path)) and not path.exists():
        return {"yaml": str(path)}
    text = read_text(path, "--config")
    if path.suffix == ".py":
        return {"text": text}
    value = parse_settings(text, path, "--config")
    if not isinstance(value, dict):
        raise OptionError(f"--config {path} wants a mapping of settings, found {type(value).__name__}.")
    return value
