"""How far the answers of a graph in float16 are from those in float32, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.selftest.cases import KeptRows
from deploykit_runtimes.selftest.compare import differences, largest
from deploykit_runtimes.selftest.measure import ROW_LAYOUTS, keep_rows

from deploykit_exporters.precision.sessions import Arrays

__all__ = ["BUDGET", "Found", "Reference", "found_of", "reference_of"]

BUDGET = (
    "1 % of the scale of logits and feature maps, 5 % of a score, half a pixel of a box or keypoint "
    "at 640 pixels"
)
"""What ``found_of`` allows, in words."""

_SHARE, _LOG, _PIXELS, _SIDE = 0.01, 0.05, 0.5, 640
_SMALL = 1e-3
"""Added to a score before its logarithm."""
_OBJECTS, _FEWEST, _LOWEST = 100, 10, 0.02
"""Of an image up to 100 boxes with the best scores are compared; beyond the first ten only those
with such a score: nobody looks at the others."""
_HEADS = ("yolo", "yolov5")
_Objects = tuple[np.ndarray, np.ndarray]
_DIFFER = 0.01
"""Share of the best classes that may differ."""


@dataclass(frozen=True)
class _Part:
    """A part of the answers: its values in float32, what they may be off by, and what of it is a choice.

    Attributes:
        name: ``logits``, ``boxes``.
        values: float64; logarithms of scores.
        allowed: The largest difference.
        choices: Of each image, or object, the best class; int64. None: nothing is chosen.
        counted: Which of them count, bool; None: all.
    """

    name: str
    values: np.ndarray
    allowed: float
    choices: np.ndarray | None = None
    counted: np.ndarray | None = None


@dataclass(frozen=True)
class _View:
    """Answers of one contract.

    Attributes:
        spec: The contract.
        parts: What is compared.
        rows: Finished answers, with their tolerances.
        objects: Of a head the boxes that are compared: their indices, int64 [N, objects], and which of those
            count, bool [N, objects].
        side: The longer side of the image in pixels.
        counted: Whether its best classes are counted.
    """

    spec: ModelSpec
    parts: tuple[_Part, ...]
    rows: KeptRows | None
    objects: _Objects | None
    side: int
    counted: bool = True


@dataclass(frozen=True)
class Reference:
    """What float32 answers to a feed.

    Attributes:
        views: The answers of the file, and those of the network in front of its post-processing.
        judged: Whether a difference counts; of noise only that it is finite.
        finite: Whether every number of it is.
    """

    views: tuple[_View, ...]
    judged: bool
    finite: bool


@dataclass(frozen=True)
class Found:
    """How far a graph is from float32.

    Attributes:
        share: The largest difference as a share of what is allowed; infinite where something is not finite.
        agreed, answers: How many best classes, of images or of detected objects, are the same, and of how
            many.
        where: Which part is worst, by how much, and what is allowed.
    """

    share: float = 0.0
    agreed: int = 0
    answers: int = 0
    where: str = ""

    @property
    def cost(self) -> float:
        """``share``, or what is above 1 where more than one answer in a hundred is another."""
        differ = self.answers - self.agreed
        return self.share if differ <= max(1.0, _DIFFER * self.answers) else max(self.share, 1.0 + differ)

    @property
    def said(self) -> str:
        """What is worst, in words."""
        if self.cost > self.share:
            return f"{self.answers - self.agreed} of {self.answers} best classes are others"
        return self.where

    def with_other(self, other: Found) -> Found:
        """Both together."""
        further = other if other.share > self.share or not self.where else self
        return replace(further, agreed=self.agreed + other.agreed, answers=self.answers + other.answers)


def reference_of(
    outputs: Arrays, spec: ModelSpec, image: np.ndarray, *, inner: Sequence[str] = (), judged: bool = True
) -> Reference:
    """What of float32's answers is compared, and how far it may be off.

    Args:
        outputs: Float32's answers, and what its network gives where post-processing follows in the graph: a
            picture without objects would tell nothing.
        spec: The contract of the model.
        image: The image input that was fed.
        inner: The names of the latter.
        judged: See ``Reference``.

    Raises:
        ModelError: they are not of the model's layout.
    """
    height, width = (image.shape[spec.input.axes.index(axis)] for axis in ("height", "width"))
    own, side = max(spec.tensor.height, spec.tensor.width), max(height, width)
    network = _network_spec(outputs, spec, inner) if inner else None
    classes = network is not None and network.output.layout == "logits"
    views = [_view(outputs, spec, max(side, own), counted=not classes)]
    if network is not None:
        views.append(_view(outputs, network, own, counted=classes))
    return Reference(tuple(views), judged, _finite(outputs))


def found_of(outputs: Arrays, reference: Reference) -> Found:
    """How far the answers to a feed are from float32's."""
    if reference.finite and not _finite(outputs):
        names = [name for name, value in outputs.items() if not _finite({name: value})]
        return Found(share=math.inf, where=f"{', '.join(names)} has NaN or infinity")
    if not reference.judged:
        return Found()
    found = Found()
    for view in reference.views:
        each = _of_view(outputs, view)
        found = found.with_other(each if view.counted else replace(each, agreed=0, answers=0))
    return found


def _network_spec(outputs: Arrays, spec: ModelSpec, inner: Sequence[str]) -> ModelSpec:
    """The contract of a network whose outputs the post-processing in the graph reads."""
    output = spec.output
    columns = spec.num_classes + output.mask_channels + math.prod(output.keypoints) + (spec.task == "obb")
    for name in inner:
        others = tuple(other for other in inner if other != name)
        shape, layout = outputs[name].shape, "features"
        if spec.task == "classify" and len(shape) == 2:
            layout = "logits"
        elif len(shape) == 3 and spec.task != "classify":
            layout = (
                "yolo" if shape[1] == 4 + columns else "yolov5" if shape[2] == 5 + columns else "features"
            )
        if layout != "features":
            return replace(spec, output=replace(output, names=(name, *others), layout=cast("Any", layout)))
    return replace(spec, output=replace(output, names=tuple(inner), layout="features"))


def _view(outputs: Arrays, spec: ModelSpec, side: int, *, counted: bool) -> _View:
    objects = _best_objects(outputs, spec) if spec.output.layout in _HEADS else None
    rows = None
    if spec.output.layout in ROW_LAYOUTS:
        kept = keep_rows(outputs, spec)
        pixels = _pixels(side)
        more = pixels if spec.task == "pose" else max(_SHARE * largest(kept.rows[:, 3 + kept.box :]), _SHARE)
        rows = replace(kept, tolerances={"fp16": (_LOG, pixels, more)})
    return _View(spec, tuple(_parts(outputs, spec, objects, side)), rows, objects, side, counted)


def _of_view(outputs: Arrays, view: _View) -> Found:
    found = Found()
    if view.rows is not None:
        each = differences(outputs, view.rows, view.spec, "fp16")
        share = each.share if each.ok else max(each.share, math.nextafter(1.0, 2.0))
        off = f"{each.part} is off by {each.found:.2g}, allowed is {each.allowed:.2g}"
        if not each.ok and each.share <= 1:
            off = f"{each.agreed} of {each.answers} answers agree"
        found = Found(share, each.agreed, each.answers, off)
    for one, other in zip(view.parts, _parts(outputs, view.spec, view.objects, view.side), strict=True):
        found = found.with_other(_difference(one, other))
    return found


def _difference(one: _Part, other: _Part) -> Found:
    if one.values.shape != other.values.shape:
        return Found(share=math.inf, where=f"{one.name} has another shape")
    off = float(np.abs(one.values - other.values).max(initial=0.0))
    share = off / one.allowed if one.allowed else (math.inf if off else 0.0)
    said = f"{one.name} is off by {off:.2g}, allowed is {one.allowed:.2g}"
    if one.choices is None or other.choices is None:
        return Found(share, where=said)
    same = one.choices == other.choices
    same = same if one.counted is None else same[one.counted]
    return Found(share, int(same.sum()), same.size, said)


def _parts(outputs: Arrays, spec: ModelSpec, objects: _Objects | None, side: int) -> Iterator[_Part]:
    layout, names = spec.output.layout, spec.output.names
    if layout in ROW_LAYOUTS:
        if "prototypes" in outputs:
            yield _scaled("prototypes", outputs["prototypes"])
        return
    if layout in _HEADS and objects is not None:
        yield from _head_parts(outputs[names[0]], spec, objects, side)
        names = names[1:]
    for name in names:
        values = outputs[name]
        if layout == "probabilities":
            yield replace(_scores(name, values), choices=values.argmax(1))
        else:
            part = _scaled(name, values)
            yield replace(part, choices=values.argmax(1)) if layout == "logits" else part


def _head_parts(values: np.ndarray, spec: ModelSpec, objects: _Objects, side: int) -> Iterator[_Part]:
    rows = values if spec.output.layout == "yolov5" else np.swapaxes(values, 1, 2)
    places, count = objects
    chosen = np.take_along_axis(rows, places[..., None], axis=1)[count]
    start = 5 if spec.output.layout == "yolov5" else 4
    classes = chosen[..., start : start + spec.num_classes]
    yield _Part("boxes", chosen[..., :4].astype(np.float64), _pixels(side))
    detected = classes.max(-1) > spec.output.conf
    scores = _scores("scores", chosen[..., 4 : start + spec.num_classes])
    yield replace(scores, choices=classes.argmax(-1), counted=detected)
    rest = chosen[..., start + spec.num_classes :]
    if not rest.shape[-1]:
        return
    if spec.task == "pose":
        points = rest.reshape(len(rest), *spec.output.keypoints)
        yield _Part("keypoints", points[..., :2].astype(np.float64), _pixels(side))
        rest = points[..., 2:]
    if rest.size:
        yield _scaled("mask coefficients" if spec.task == "segment" else "extra", rest)


def _best_objects(outputs: Arrays, spec: ModelSpec) -> _Objects:
    values = outputs[spec.output.names[0]]
    rows = values if spec.output.layout == "yolov5" else np.swapaxes(values, 1, 2)
    start = 5 if spec.output.layout == "yolov5" else 4
    score = rows[..., start : start + spec.num_classes].max(-1)
    if start == 5:
        score = score * rows[..., 4]
    places = np.argsort(-score, axis=1, kind="stable")[:, :_OBJECTS]
    count = np.take_along_axis(score, places, axis=1) >= _LOWEST
    count[:, :_FEWEST] = True
    return places, count


def _scores(name: str, values: np.ndarray) -> _Part:
    with np.errstate(invalid="ignore", divide="ignore"):
        return _Part(name, np.log(values.astype(np.float64) + _SMALL), _LOG)


def _scaled(name: str, values: np.ndarray) -> _Part:
    return _Part(name, values.astype(np.float64), _SHARE * max(largest(values), 1e-6))


def _pixels(side: int) -> float:
    return _PIXELS * max(1.0, side / _SIDE)


def _finite(outputs: Arrays) -> bool:
    return all(np.isfinite(value).all() for value in outputs.values() if value.dtype.kind == "f")
