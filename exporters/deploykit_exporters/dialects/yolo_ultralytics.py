"""Checkpoints of the ultralytics package: YOLOv3u, v5u, v8, v9, v10, 11, 12 and 26; detection,
segmentation, pose, oriented boxes and classification.

The package defines the architectures and is needed to export them. It is AGPL-3.0; the ONNX file
runs without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import DependencyError, OptionError
from deploykit_runtimes.optional import require
from deploykit_runtimes.spec import InputSpec, ModelSpec, Preprocess, Task

from deploykit_exporters.containers.inert import children, class_path
from deploykit_exporters.dialects.yolo_contract import class_names, image_size
from deploykit_exporters.dialects.yolo_ultralytics_head import choose_branch, task_of
from deploykit_exporters.families.base import BuiltModel, Hints, Match

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.dialects.yolo_ultralytics_network import YoloNetwork

__all__ = ["build", "match"]


def match(checkpoint: Checkpoint) -> Match | None:
    """Claim files that hold a whole pickled model of the ultralytics package."""
    package = class_path(checkpoint.module).partition(".")[0]
    if package == "ultralytics" and "model" in children(checkpoint.module):
        return Match(family="yolo", origin="ultralytics", score=1.0)
    return None


def build(checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
    """Rebuild the pickled network with every weight of the file.

    Raises:
        CheckpointError: the modules or weights do not fit the installed ultralytics; each is named.
        DependencyError: ultralytics is not installed.
        OptionError: the image size is no multiple of the largest stride, or the labels are too few.
    """
    if hints.features:
        raise OptionError("--features is not available for YOLO models, which export their heads.")
    _require_ultralytics()
    from deploykit_exporters.dialects import yolo_ultralytics_spec as facts
    from deploykit_exporters.dialects.yolo_ultralytics_network import build_networks, input_channels

    tree = checkpoint.module
    task = task_of(tree)
    one_to_one, assumed = choose_branch(tree, hints.head)
    reference, exportable = build_networks(checkpoint, one_to_one=one_to_one)
    height, width, assumed_size = _image_size(checkpoint, hints, task, facts.max_stride(reference))
    num_classes = _num_classes(reference, task)
    names = class_names(hints, getattr(tree, "names", None), num_classes)
    output = facts.output_spec(reference, task)
    spec = ModelSpec(
        task=task,
        family=match.family,
        variant=hints.variant or facts.variant_of(tree, task),
        origin=match.origin,
        input=InputSpec(height=height, width=width, channels=input_channels(reference)),
        preprocess=_preprocess(tree, task, height, width, facts.max_stride(reference)),
        output=output,
        classes=names,
        num_classes=num_classes,
        source=checkpoint.path.name,
        source_sha256=checkpoint.sha256,
        recognised=_recognised(checkpoint, names, num_classes),
        assumed=(*((assumed_size,) if assumed_size else ()), *assumed),
    )
    return BuiltModel(
        module=reference,
        exportable=exportable,
        spec=spec,
        axes=facts.axes(reference, (height, width)),
        groups=facts.output_groups(output, num_classes, task),
    )


def _require_ultralytics() -> None:
    try:
        require("ultralytics.nn.tasks", extra="yolo", purpose="rebuild an Ultralytics network")
    except DependencyError as error:
        raise DependencyError(
            error.problem, hint=f"{error.hint} (ultralytics is licensed under AGPL-3.0)."
        ) from error


def _image_size(checkpoint: Checkpoint, hints: Hints, task: Task, stride: int) -> tuple[int, int, str]:
    """Height, width, and the assumption behind them ("" where nothing was assumed)."""
    from deploykit_exporters.dialects.yolo_ultralytics_spec import trained_size

    trained = trained_size(checkpoint.meta, checkpoint.module)
    default = 224 if task == "classify" else 640
    # Ultralytics rounds the size of the training arguments up to the stride, too.
    own_height, own_width = (-(-side // stride) * stride for side in trained or (default, default))
    height, width = image_size(hints, (own_height, own_width), stride)
    known = trained is not None or hints.imgsz is not None
    return height, width, "" if known else f"image size {height}x{width}, the default of Ultralytics"


def _num_classes(network: YoloNetwork, task: Task) -> int:
    return int(network.head.linear.out_features if task == "classify" else network.head.nc)


def _preprocess(tree: Any, task: Task, height: int, width: int, stride: int) -> Preprocess:
    """As ``ultralytics.engine.predictor`` prepares an image: RGB, 0..1."""
    if task == "classify":
        from deploykit_exporters.dialects.yolo_ultralytics_classify import classify_preprocess

        return classify_preprocess(tree, height, width)
    return Preprocess(
        resize="letterbox",
        resize_to=(height, width),
        rounding="round",
        interpolation="bilinear",
        resampler="opencv",
        pad_value=114,
        stride=stride,
    )


def _recognised(checkpoint: Checkpoint, names: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    found = [f"{num_classes} classes, {'named' if names else 'without names'}"]
    trained_by = checkpoint.meta.get("version")
    if isinstance(trained_by, str):
        found.append(f"written by ultralytics {trained_by}")
    return tuple(found)
