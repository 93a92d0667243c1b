"""The spec of a file that another exporter wrote: told by its metadata, declared by the caller, or inferred.

What the metadata says wins over shapes, and what the caller declares over both. What neither tells is only
taken where one reading fits, and listed in ``ModelSpec.assumed``; where several do, ``ModelSpec.readings``
names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deploykit_runtimes.contract.exporter_metadata import Told, read_exporter_metadata
from deploykit_runtimes.contract.inferred_processing import contract
from deploykit_runtimes.contract.metadata import has_metadata, spec_from_metadata
from deploykit_runtimes.contract.reading_shapes import MAYBE, fit, fitting
from deploykit_runtimes.contract.readings import (
    READINGS,
    Declared,
    Fit,
    Known,
    name_of,
    parse_outputs,
    shapes_text,
)
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec
from deploykit_runtimes.contract.spec_limits import check_spec_limits
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError, OptionError

__all__ = ["infer_spec", "read_spec"]

_ACTIVATIONS = ("Softmax", "Sigmoid")

_ROWS = 300
"""Finished boxes of YOLOv10 by the releases of Ultralytics that do not write whether they are finished."""

_YOLOV5 = ("yolov5", "yolo", "yolov5-segment", "yolo-segment", "logits")
"""What the repository of YOLOv5 writes, and YOLOv9's, which is forked from it."""


def read_spec(
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    metadata: Mapping[str, str],
    declared: str | None = None,
    makers: Mapping[str, str] | None = None,
) -> ModelSpec:
    """The contract of a model file, whoever wrote it.

    Args:
        inputs, outputs, metadata: Of the file.
        declared: What the outputs mean, as ``--outputs`` takes it; None: what the file tells.
        makers: The operator that computes each output, where that is known.

    Raises:
        ModelError: the metadata is damaged or contradicts the outputs, or the graph does not take one image.
        ModelLimitError: it names sizes above those of ``limits``.
        OptionError: ``declared`` is not a known reading, or does not fit the file.
    """
    if not has_metadata(metadata):
        spec = infer_spec(inputs, outputs, metadata, declared, makers)
        check_spec_limits(spec)
        return spec
    spec = spec_from_metadata(metadata)
    check_spec_limits(spec)
    if declared is None:
        return spec
    reading = parse_outputs(declared).reading
    own = name_of(spec)
    if reading.name != own:
        raise OptionError(
            f"--outputs {declared} contradicts the model's own metadata, which says "
            f"{own or spec.output.layout} ({spec.task}).",
            hint="Leave it out: deploykit wrote this file, and it says itself what its outputs mean.",
        )
    return spec


def infer_spec(
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    metadata: Mapping[str, str],
    declared: str | None = None,
    makers: Mapping[str, str] | None = None,
) -> ModelSpec:
    """What an image model of another exporter takes and returns; see ``read_spec``."""
    chosen = None if declared is None else parse_outputs(declared)
    image = _image_input(inputs)
    if not outputs:
        raise ModelError("Wanted a model with outputs, found none.")
    told = read_exporter_metadata(metadata)
    image = _sized(image, inputs[0], told)
    batch = inputs[0].shape[0]
    known = Known(
        classes=len(told.classes), keypoints=told.keypoints, batch=batch if isinstance(batch, str) else ""
    )
    if chosen is not None:
        found = _declared(chosen, image, outputs, told, known)
        return contract(found, image, outputs, told)
    fits = _told(image, outputs, told, known) if told.task else _by_shape(image, outputs, told, known)
    if len(fits) != 1:
        return _unclear(fits, image, outputs)
    found, meaning = fits[0], ""
    operator = (makers or {}).get(outputs[0].name, "")
    if found.reading.name == "logits" and operator in _ACTIVATIONS:
        found = replace(found, reading=READINGS["probabilities"])
        meaning = f"{outputs[0].name} ends with {operator}: scores are probabilities"
    elif told.origin != "ultralytics" and found.reading.task not in ("classify", "features"):
        meaning = f"{shapes_text(outputs)}: {found}, the only reading that fits"
    return contract(found, image, outputs, told, meaning=meaning)


def _image_input(inputs: tuple[TensorInfo, ...]) -> InputSpec:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].dtype not in ("float32", "float16"):
        found = "; ".join(map(str, inputs)) or "no inputs"
        raise ModelError(
            f"Wanted a model with one float image input [N, C, H, W], found {found}.",
            hint="Export the checkpoint with deploykit, which describes the model inside the file.",
        )
    info = inputs[0]
    batch, channels, height, width = info.shape
    dynamic = {
        name: AxisRange(min=1, max=high)
        for name, axis, high in (("batch", batch, 1024), ("height", height, 8192), ("width", width, 8192))
        if isinstance(axis, str)
    }
    return InputSpec(
        name=info.name,
        dtype=info.dtype,
        batch=batch if isinstance(batch, int) else 1,
        channels=channels if isinstance(channels, int) else 3,
        height=height if isinstance(height, int) else 224,
        width=width if isinstance(width, int) else 224,
        dynamic=dynamic,
    )


def _sized(image: InputSpec, info: TensorInfo, told: Told) -> InputSpec:
    """With what the metadata says about its axes, where the graph leaves them open."""
    if told.size is not None:
        sides = zip(info.shape[2:], told.size, strict=True)
        height, width = (own if isinstance(own, int) else side for own, side in sides)
        image = replace(image, height=height, width=width)
    if told.most and "batch" in image.dynamic:
        image = replace(image, dynamic={**image.dynamic, "batch": AxisRange(min=1, max=told.most)})
    return image


def _declared(
    chosen: Declared, image: InputSpec, outputs: Sequence[TensorInfo], told: Told, known: Known
) -> Fit:
    """What the caller says, where the file does not rule it out.

    Raises:
        OptionError: it does, and how.
    """
    reading = chosen.reading
    if chosen.keypoints[0]:
        known = replace(known, keypoints=chosen.keypoints)
    if told.task not in (None, reading.task) and reading.task != "features":
        raise OptionError(
            f"--outputs {reading.name} reads the task {reading.task}, and the file's metadata names the task "
            f"{told.task}.",
            hint=f"Say one of {told.task}: {_names(told)}.",
        )
    if told.shares and reading.task != "features":
        raise OptionError(
            f"--outputs {reading.name} reads boxes in pixels, and those of RT-DETR are fractions of the "
            f"image.",
            hint="--outputs features gives the rows as they are.",
        )
    if reading.task == "pose" and not known.keypoints[0]:
        raise OptionError(
            f"--outputs {reading.name} wants the number of keypoints and of the values of each.",
            hint=f"For instance: --outputs {reading.name}:17x3",
        )
    found = fit(reading, image, outputs, known)
    others = [one for one in _by_shape(image, outputs, told, known) if one.reading != reading]
    if reading.task == "features":
        return found or Fit(reading=reading, match="odd")
    if found is None or (found.match == "odd" and any(one.match != "odd" for one in others)):
        classes = f" with {known.classes} classes, which the file names" if known.classes else ""
        raise OptionError(
            f"--outputs {reading.name} wants {reading.shape}{classes}, found {shapes_text(outputs)} for an "
            f"image of {_size_text(image)}.",
            hint=f"What fits: {', '.join(map(str, others))}." if others else "",
        )
    return found


def _names(told: Told) -> str:
    return ", ".join(name for name, reading in READINGS.items() if reading.task == told.task)


def _size_text(image: InputSpec) -> str:
    return "x".join(
        axis if axis in image.dynamic else str(getattr(image, axis)) for axis in ("height", "width")
    )


def _told(image: InputSpec, outputs: Sequence[TensorInfo], told: Told, known: Known) -> list[Fit]:
    """The readings of the task that Ultralytics' metadata names.

    Raises:
        ModelError: what it says contradicts the outputs.
    """
    if told.shares:
        return []
    suffix = "" if told.task == "detect" else f"-{told.task}"
    names = ["probabilities"] if told.task == "classify" else [f"end2end{suffix}", f"yolo{suffix}"]
    says = f"the task {told.task}"
    if told.finished and told.task != "classify":
        names = names[:1] if told.rows else names[1:]
        says += f" and {told.finished}"
    fits = fitting(names, image, outputs, known)
    if not fits:
        wanted = " or ".join(READINGS[name].shape for name in names)
        classes = f" with {known.classes} classes" if known.classes else ""
        raise ModelError(
            f"The file's metadata says {says}: {wanted}{classes}, found {shapes_text(outputs)}.",
            hint="If the graph was changed after its export, say what its outputs mean with --outputs.",
        )
    if len(fits) == 2 and fits[0].match == "open" and outputs[0].shape[1] != _ROWS:
        fits = fits[1:]
    return [one for one in fits if one.match != "odd"] or fits


def _by_shape(image: InputSpec, outputs: Sequence[TensorInfo], told: Told, known: Known) -> list[Fit]:
    """The readings that fit, features where there is no other."""
    axes = [len(info.shape) for info in outputs]
    raw_maps = all(n == 5 for n in axes[1:])  # of releases of YOLOv5 that return them beside the boxes
    kind = 4 if axes[:2] == [3, 4] else axes[0] if raw_maps else 0
    maybe = MAYBE.get(kind, ())
    if told.origin == "yolov5":
        fits = fitting([name for name in _YOLOV5 if name in maybe], image, outputs, known)
        fits = [one for one in fits if one.match != "odd"]
        if len(fits) == 1:
            return fits
    fits = [one for one in fitting(maybe, image, outputs, known) if one.match != "odd"]
    features = [one for one in fitting(["features"], image, outputs, known) if one.match != "odd"]
    if [one.reading.name for one in fits] == ["end2end-pose"]:
        fits = []  # tokens have its shape, and are the more usual ones
    # Sizes that the file leaves open are those of maps and tokens as well.
    if not fits or (kind != 2 and all(one.match == "open" for one in fits)):
        fits += features
    return fits


def _unclear(fits: Sequence[Fit], image: InputSpec, outputs: Sequence[TensorInfo]) -> ModelSpec:
    """A contract under which the tensors run, and no answer is read."""
    return replace(
        contract(Fit(reading=READINGS["features"], match="odd"), image, outputs, Told()),
        readings=tuple(map(str, fits)),
        assumed=(),
    )
