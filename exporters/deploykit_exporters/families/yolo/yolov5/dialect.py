"""Checkpoints pickled by the YOLOv5 repository: anchor-based detectors, segmenters and classifiers.

The file holds a whole ``models.yolo`` module, whose classes need that repository to be importable.
It is read as an inert tree instead, and rebuilt from our own parts. The pip package ``yolov5``
saves the same classes under ``yolov5.models``, and the YOLOv3 repository uses them too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import CheckpointError
from torch import nn

from deploykit_exporters.containers.pickles.inert import children, class_path
from deploykit_exporters.families.base import BuiltModel, Hints, Match, OutputGroup
from deploykit_exporters.families.shared.class_names import given_or_listed
from deploykit_exporters.families.shared.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deploykit_exporters.families.shared.loading import load_strict
from deploykit_exporters.families.yolo.detector_spec import (
    detection_groups,
    dynamic_axes,
    image_size,
    is_ignored,
    refuse_other_options,
)
from deploykit_exporters.families.yolo.yolov5.blocks import Classify, Focus
from deploykit_exporters.families.yolo.yolov5.network import AnchorHead, YoloV5
from deploykit_exporters.families.yolo.yolov5.settings import account_settings
from deploykit_exporters.families.yolo.yolov5.tree import build_network, class_name

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["build", "match", "variant_of"]

_MODELS = frozenset({"Model", "DetectionModel", "SegmentationModel", "ClassificationModel"})
_MODULES = frozenset({"models.yolo", "yolov5.models.yolo"})
# Stem channels and bottlenecks of the first stage: width_multiple 64 and depth_multiple 3.
_SIZES = {(16, 1): "n", (32, 1): "s", (48, 2): "m", (64, 3): "l", (80, 4): "x"}
_P6_STRIDE = 64
_ANCHORS = re.compile(r"(^|\.)\d+\.anchors$")


def match(checkpoint: Checkpoint) -> Match | None:
    """Claim files whose pickled module is a ``models.yolo`` class, and bare weights of one, so that
    ``build`` can say what they lack.
    """
    module, _, name = class_path(checkpoint.module).rpartition(".")
    pickled = name in _MODELS and module in _MODULES
    if pickled or (checkpoint.module is None and any(_ANCHORS.search(key) for key in checkpoint.tensors)):
        return Match(family="yolo", origin="yolov5", score=1.0 if pickled else 0.5)
    return None


def build(checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
    """Rebuild the network and load every weight.

    Raises:
        CheckpointError: a module is not one of YOLOv5's, or weights do not fit; each is named.
        OptionError: the image size is not a multiple of the largest stride, or the labels are too few,
            or feature maps were asked for.
    """
    refuse_other_options(hints)
    if checkpoint.module is None:
        raise CheckpointError(
            f"{checkpoint.path.name} holds the weights of a YOLOv5 without its module, which says how the "
            f"layers are wired.",
            hint="Save the whole model, as train.py does: torch.save({'model': model}, 'model.pt').",
        )
    net = build_network(checkpoint.module)
    load_strict(net, checkpoint.tensors, source=checkpoint.path.name)
    settings = account_settings(checkpoint, hints)
    if is_ignored(settings, "opt:imgsz"):
        checkpoint = replace(checkpoint, meta={**checkpoint.meta, "opt": None})
    own_names = None if is_ignored(settings, "model:names") else getattr(checkpoint.module, "names", None)
    head = net.model[-1]
    if isinstance(head, AnchorHead):
        built = _detector(checkpoint, match, hints, net, head, own_names=own_names)
    elif isinstance(head, Classify) and isinstance(head.linear, nn.Linear):
        built = _classifier(checkpoint, match, hints, net, head.linear.out_features, own_names=own_names)
    else:
        raise CheckpointError(
            f"{checkpoint.path.name} ends with {type(head).__name__}, wanted a Detect, Segment or Classify "
            "head.",
            hint="Export the whole model, not a backbone cut from it.",
        )
    return replace(built, settings=settings, witness=_no_witness)


def _no_witness() -> str:
    return "none: the constructor of YOLOv5 evaluates the text of the file's yaml as Python"


def _detector(
    checkpoint: Checkpoint, match: Match, hints: Hints, net: YoloV5, head: AnchorHead, *, own_names: object
) -> BuiltModel:
    stride = round(max(head.strides))
    p6 = stride == _P6_STRIDE
    size, recognised, assumed = _own_size(checkpoint, 1280 if stride >= _P6_STRIDE else 640, stride)
    height, width = image_size(hints, (size, size), stride)
    names = given_or_listed(hints, own_names, head.num_classes)
    outputs = ("predictions", "protos") if head.masks else ("predictions",)
    groups = detection_groups("predictions", head.num_classes, head.masks)
    spec = ModelSpec(
        task="segment" if head.masks else "detect",
        family=match.family,
        variant=hints.variant or variant_of(checkpoint.module, p6=p6, suffix="-seg" * bool(head.masks)),
        origin=match.origin,
        input=InputSpec(height=height, width=width, channels=_image_channels(net)),
        # utils/augmentations.py letterbox(): the sides are rounded, the padding is centred.
        preprocess=Preprocess(
            resize="letterbox",
            resize_to=(height, width),
            rounding="round",
            resampler="opencv",
            pad_value=114,
            stride=stride,
        ),
        # The defaults of detect.py.
        output=OutputSpec(
            names=outputs,
            layout="yolov5",
            conf=0.25,
            iou=0.45,
            max_det=1000,
            mask_channels=head.masks,
        ),
        classes=names,
        num_classes=head.num_classes,
        recognised=_recognised(checkpoint.module, recognised),
        assumed=_assumed(assumed, names),
    )
    return BuiltModel(
        module=net,
        exportable=net.folded(),
        spec=spec,
        axes=dynamic_axes((height, width), stride),
        groups=(*groups, OutputGroup(output="protos")) if head.masks else groups,
    )


def _classifier(
    checkpoint: Checkpoint, match: Match, hints: Hints, net: YoloV5, num_classes: int, *, own_names: object
) -> BuiltModel:
    size, recognised, assumed = _own_size(checkpoint, 224, 1)
    height, width = image_size(hints, (size, size), 1)
    names = given_or_listed(hints, own_names, num_classes)
    spec = ModelSpec(
        task="classify",
        family=match.family,
        variant=hints.variant or variant_of(checkpoint.module, p6=False, suffix="-cls"),
        origin=match.origin,
        input=InputSpec(height=height, width=width, channels=_image_channels(net)),
        # utils/augmentations.py classify_transforms(): the largest centred square, then bilinear.
        preprocess=Preprocess(
            pre_crop=1.0,
            pre_crop_offset="down",
            resize="stretch",
            resize_to=(height, width),
            resampler="opencv",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
        classes=names,
        num_classes=num_classes,
        recognised=_recognised(checkpoint.module, recognised),
        assumed=_assumed(assumed, names),
    )
    return BuiltModel(
        module=net,
        exportable=net.folded(),
        spec=spec,
        axes=dynamic_axes((height, width), 1),
        groups=(OutputGroup(output="logits", kind="scores", axis=1),),
    )


def _own_size(checkpoint: Checkpoint, default: int, step: int) -> tuple[int, str, str]:
    """The side that the model was trained with, and what is recognised and assumed about it.

    Training rounds ``--imgsz`` up to a multiple of the stride; releases before 6.2 do not save it.
    """
    options = checkpoint.meta.get("opt")
    options = options if isinstance(options, Mapping) else getattr(options, "__dict__", {})
    trained = options.get("imgsz")
    if isinstance(trained, int) and 0 < trained <= 8192:
        size = math.ceil(trained / step) * step
        return size, f"image size {size} from the training options", ""
    return default, "", f"image size {default}, the repository's default: the file does not say"


def _recognised(root: Any, size: str) -> tuple[str, ...]:
    layers = [class_name(layer) for layer in children(children(root)["model"]).values()]
    network = f"{class_path(root)} of {len(layers)} layers, {layers[0]} to {layers[-1]}"
    return (network, size) if size else (network,)


def _assumed(size: str, names: tuple[str, ...]) -> tuple[str, ...]:
    facts = (size, "" if names else "no class names: the file does not name every class")
    return tuple(filter(None, facts))


def variant_of(root: Any, *, p6: bool, suffix: str) -> str:
    """``yolov5s`` and the like from stem width and stage depth, otherwise the name of the model's yaml
    file, otherwise width and depth themselves.
    """
    layers = list(children(children(root)["model"]).values())
    channels = _first_channels(layers[0])
    depth = len(children(children(layers[2]).get("m"))) if len(layers) > 2 else 0
    if (size := _SIZES.get((channels, depth))) is not None:
        return f"yolov5{size}{'6' if p6 else ''}{suffix}"
    if isinstance(name := getattr(root, "yaml_file", None), str) and PurePath(name).stem:
        return PurePath(name).stem
    return f"yolov5-w{channels}-d{depth}{'-p6' if p6 else ''}{suffix}"


def _image_channels(net: YoloV5) -> int:
    """The number of image channels of the first convolution; a Focus passes it four pixels at a time."""
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    return first.in_channels // (4 if isinstance(net.model[0], Focus) else 1)


def _first_channels(node: Any) -> int:
    while (inner := children(node).get("conv")) is not None:
        node = inner
    weight = getattr(node, "weight", None)
    return int(weight.shape[0]) if weight is not None else 0
