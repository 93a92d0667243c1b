"""Checkpoints of YOLOX (https://github.com/Megvii-BaseDetection/YOLOX): state dicts whose architecture
is read from the shapes.

What they do not tell is assumed as the experiments of releases 0.2 and 0.3 have it; the experiment
itself can be given as a configuration.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from torch import nn

from deploykit_exporters.dialects.coco import COCO_NAMES
from deploykit_exporters.dialects.loading import load_strict
from deploykit_exporters.dialects.yolo_contract import (
    class_names,
    detection_groups,
    dynamic_axes,
    image_size,
    refuse_features,
)
from deploykit_exporters.dialects.yolox_shapes import Architecture, is_yolox, read_architecture
from deploykit_exporters.families.base import BuiltModel, Hints, Match
from deploykit_exporters.nets.yolox import STRIDES
from deploykit_exporters.nets.yolox_blocks import BN_EPS

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["build", "match"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "lrelu": lambda: nn.LeakyReLU(0.1),
}
_SMALL = ("yolox_nano", "yolox_tiny")


def match(checkpoint: Checkpoint) -> Match | None:
    """Claim the keys of a YOLOX backbone with its decoupled head, under any wrapper prefix."""
    for view in checkpoint.views():
        if is_yolox(view.tensors):
            return Match(family="yolo", origin="yolox", score=1.0, prefix=view.prefix)
    return None


def build(checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
    """Build the network that the shapes describe and load every weight.

    ``hints.config`` may hold the experiment (an ``exps/.../my_exp.py``); its ``act`` and ``test_size``
    replace what is assumed.

    Raises:
        CheckpointError: weights are missing, left over or misshapen; each is named.
        OptionError: the image size is no multiple of 32, the labels are too few, the experiment names
            an unknown activation, or feature maps were asked for.
    """
    refuse_features(hints)
    tensors = {
        key.removeprefix(match.prefix): tensor
        for key, tensor in checkpoint.tensors.items()
        if key.startswith(match.prefix)
    }
    architecture = read_architecture(tensors)
    experiment = _experiment(hints.config)
    act = str(experiment.get("act", "lrelu" if architecture.base is None else "silu"))
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
    )


def _spec(
    architecture: Architecture, match: Match, hints: Hints, experiment: Mapping[str, Any], act: str
) -> ModelSpec:
    variant = hints.variant or architecture.variant
    side = 416 if variant in _SMALL else 640
    size = image_size(hints, _test_size(experiment) or (side, side), max(STRIDES))
    coco = COCO_NAMES if architecture.num_classes == len(COCO_NAMES) else None
    return ModelSpec(
        task="detect",
        family=match.family,
        variant=variant,
        origin=match.origin,
        input=InputSpec(height=size[0], width=size[1]),
        # data/data_augment.py preproc(): BGR as OpenCV reads it, no normalisation, sides rounded down,
        # always padded to the whole size, right and bottom.
        preprocess=Preprocess(
            color="bgr",
            resize="letterbox",
            resize_to=size,
            rounding="floor",
            resampler="opencv",
            pad_value=114,
            anchor="top_left",
            stride=0,
            scale=1.0,
        ),
        # The thresholds of the repository's demo commands, whose suppression ignores classes.
        output=OutputSpec(names=("predictions",), layout="yolov5", conf=0.25, iou=0.45, class_agnostic=True),
        classes=class_names(hints, coco, architecture.num_classes),
        num_classes=architecture.num_classes,
        recognised=(
            architecture.summary,
            *(f"{name} {experiment[name]}, from the experiment" for name in experiment),
        ),
        assumed=tuple(_assumed(architecture, hints, experiment, size, act)),
    )


def _assumed(
    architecture: Architecture,
    hints: Hints,
    experiment: Mapping[str, Any],
    size: tuple[int, int],
    act: str,
) -> Iterator[str]:
    """What neither the file nor the user told."""
    yield "pixels in BGR, 0..255, as YOLOX takes them since 0.2.0 (older releases normalised RGB)"
    yield f"BatchNorm eps {BN_EPS:g}"
    if "act" not in experiment:
        yield f"activation {act}"
    if "test_size" not in experiment and hints.imgsz is None:
        yield f"image size {size[0]}, the experiment's default"
    if hints.labels is None:
        coco = architecture.num_classes == len(COCO_NAMES)
        yield "class names of COCO" if coco else "no class names: the file holds none"


def _experiment(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings that matter here, from an experiment's Python text or a mapping of them.

    Only ``self.NAME = literal`` is read from the text; it is never run.
    """
    if config is None:
        return {}
    settings = _literals(config["text"]) if isinstance(config.get("text"), str) else dict(config)
    return {name: settings[name] for name in ("act", "test_size") if name in settings}


def _literals(text: str) -> dict[str, Any]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise OptionError(
            f"The experiment given with --config is not a Python file: {error}.",
            hint="Give the exps/.../NAME.py that the model was trained with.",
        ) from error
    settings = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            with contextlib.suppress(ValueError):  # a computed value, which is none of those read here
                settings[node.targets[0].attr] = ast.literal_eval(node.value)
    return settings


def _test_size(experiment: Mapping[str, Any]) -> tuple[int, int] | None:
    size = experiment.get("test_size")
    if size is None:
        return None
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return int(size[0]), int(size[1])
    raise OptionError(f"The experiment's test_size is {size!r}, wanted (height, width).")
