"""Checkpoints of YOLOX (https://github.com/Megvii-BaseDetection/YOLOX): state dicts whose architecture
is read from the shapes.

Missing information is assumed to be as in the experiments of releases 0.2 and 0.3; the experiment itself
can be given as a configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import OptionError
from torch import nn

from deploykit_exporters.families.base import BuiltModel, Hints, Match
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.class_names import given_or_listed
from deploykit_exporters.families.shared.coco import COCO_NAMES
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deploykit_exporters.families.shared.loading import load_strict
from deploykit_exporters.families.yolo.detector_spec import (
    detection_groups,
    dynamic_axes,
    image_size,
    refuse_other_options,
)
from deploykit_exporters.families.yolo.yolox.blocks import BN_EPS
from deploykit_exporters.families.yolo.yolox.experiment import Experiment, read_experiment
from deploykit_exporters.families.yolo.yolox.network import STRIDES
from deploykit_exporters.families.yolo.yolox.shapes import Architecture, is_yolox, read_architecture
from deploykit_exporters.families.yolo.yolox.witness import ask_yolox

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["build", "match"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "lrelu": lambda: nn.LeakyReLU(0.1),
}
# data/data_augment.py preproc(): BGR as OpenCV reads it, no normalisation, sides rounded down, always
# padded to the whole size, right and bottom.
_PLAIN = Preprocess(
    color="bgr",
    resize="letterbox",
    resize_to=(640, 640),
    rounding="floor",
    resampler="opencv",
    pad_value=114,
    anchor="top_left",
    stride=0,
    scale=1.0,
)
# ValTransform(legacy=True): RGB in 0..1, normalised with ImageNet's statistics, the padding too.
_LEGACY: dict[str, Any] = {"color": "rgb", "scale": 1 / 255, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
_SMALL = ("yolox_nano", "yolox_tiny")


def match(checkpoint: Checkpoint) -> Match | None:
    """Claim the keys of a YOLOX backbone with its decoupled head, under any wrapper prefix."""
    for view in checkpoint.views():
        if is_yolox(view.tensors):
            return Match(family="yolo", origin="yolox", score=1.0, prefix=view.prefix)
    return None


def build(checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
    """Build the network that the shapes describe and load every weight.

    ``hints.config`` may hold the experiment (an ``exps/.../my_exp.py``); its ``act``, ``test_size`` and
    ``legacy`` replace what is assumed, and its sizes are compared with the shapes.

    Raises:
        CheckpointError: weights are missing, left over or misshapen; the message names each.
        OptionError: the image size is not a multiple of 32, the labels are too few, the experiment names
            an unknown activation, or feature maps were asked for.
    """
    refuse_other_options(hints)
    tensors = {
        key.removeprefix(match.prefix): tensor
        for key, tensor in checkpoint.tensors.items()
        if key.startswith(match.prefix)
    }
    architecture = read_architecture(tensors)
    experiment = read_experiment(hints, architecture)
    act = experiment.act or ("lrelu" if architecture.base is None else "silu")
    if act not in _ACTIVATIONS:
        raise OptionError(f"The experiment's act is {act!r}, wanted one of {', '.join(_ACTIVATIONS)}.")
    net = architecture.allocate(_ACTIVATIONS[act], tensors)
    load_strict(net, tensors, source=checkpoint.path.name)
    spec = _spec(architecture, match, hints, experiment, act)
    return BuiltModel(
        module=net,
        exportable=net.folded(),
        spec=spec,
        axes=dynamic_axes((spec.input.height, spec.input.width), max(STRIDES)),
        groups=detection_groups("predictions", architecture.num_classes),
        settings=(*_of_file(checkpoint, hints), *experiment.settings),
        witness=lambda: ask_yolox(architecture, act, tensors, spec, legacy=bool(experiment.legacy)),
    )


def _of_file(checkpoint: Checkpoint, hints: Hints) -> tuple[Setting, ...]:
    settings = Settings("file", checkpoint.meta, hints.ignore)
    settings.harmless("metrics and history of the training", "start_epoch", "epoch", "best_ap", "curr_ap")
    return settings.account(strict=False)


def _spec(
    architecture: Architecture, match: Match, hints: Hints, experiment: Experiment, act: str
) -> ModelSpec:
    variant = hints.variant or architecture.variant
    side = 416 if variant in _SMALL else 640
    size = image_size(hints, experiment.test_size or (side, side), max(STRIDES))
    coco = COCO_NAMES if architecture.num_classes == len(COCO_NAMES) else None
    return ModelSpec(
        task="detect",
        family=match.family,
        variant=variant,
        origin=match.origin,
        input=InputSpec(height=size[0], width=size[1]),
        preprocess=replace(_PLAIN, resize_to=size, **(_LEGACY if experiment.legacy else {})),
        # The thresholds of the repository's demo commands, whose suppression ignores classes.
        output=OutputSpec(names=("predictions",), layout="yolov5", conf=0.25, iou=0.45, class_agnostic=True),
        classes=given_or_listed(hints, coco, architecture.num_classes),
        num_classes=architecture.num_classes,
        recognised=(
            architecture.summary,
            *experiment.summary,
        ),
        assumed=tuple(_assumed(architecture, hints, experiment, size, act)),
    )


def _assumed(
    architecture: Architecture,
    hints: Hints,
    experiment: Experiment,
    size: tuple[int, int],
    act: str,
) -> Iterator[str]:
    """What neither the file nor the user said."""
    if experiment.legacy is None:
        yield (
            "pixels in BGR, 0..255, as YOLOX takes them since 0.2.0; older releases normalised RGB, as "
            """--config '{"legacy": true}' does"""
        )
    yield f"BatchNorm eps {BN_EPS:g}"
    if experiment.act is None:
        yield f"activation {act}"
    if experiment.test_size is None and hints.imgsz is None:
        yield f"image size {size[0]}, the experiment's default"
    if hints.labels is None:
        coco = architecture.num_classes == len(COCO_NAMES)
        yield "class names of COCO" if coco else "no class names: the file holds none"
