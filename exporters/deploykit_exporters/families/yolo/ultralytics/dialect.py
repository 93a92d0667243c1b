"""Checkpoints of the ultralytics package: YOLOv3u, v5u, v8, v9, v10, 11, 12 and 26; detection,
segmentation, pose, oriented boxes and classification.

The package defines the architectures and is needed to export them. It is AGPL-3.0; the ONNX file
runs without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, Preprocess, Task
from deploykit_runtimes.errors import CheckpointError, DependencyError
from deploykit_runtimes.optional import require

from deploykit_exporters.containers.pickles.inert import children, class_path
from deploykit_exporters.families.base import BuiltModel, Hints, Match
from deploykit_exporters.families.settings import Setting
from deploykit_exporters.families.shared.class_names import given_or_listed
from deploykit_exporters.families.yolo.detector_spec import (
    image_size,
    is_ignored,
    refuse_other_options,
)
from deploykit_exporters.families.yolo.ultralytics.classifier_transforms import (
    assumed_transforms,
    classify_preprocess,
)
from deploykit_exporters.families.yolo.ultralytics.head import choose_branch, task_of
from deploykit_exporters.families.yolo.ultralytics.settings import account_file, account_settings
from deploykit_exporters.families.yolo.ultralytics.state_dict import holds_bare_weights
from deploykit_exporters.families.yolo.ultralytics.witness import ask_ultralytics

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.yolo.ultralytics.network import YoloNetwork

__all__ = ["build", "match"]


def match(checkpoint: Checkpoint) -> Match | None:
    """Claim files with a whole pickled model of the ultralytics package, and bare weights of such a model."""
    package = class_path(checkpoint.module).partition(".")[0]
    if package == "ultralytics" and {"model", "student_model"} & children(checkpoint.module).keys():
        return Match(family="yolo", origin="ultralytics", score=1.0)
    if holds_bare_weights(checkpoint):
        return Match(family="yolo", origin="ultralytics", score=0.5)
    return None


def build(checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
    """Rebuild the pickled network with every weight of the file.

    Raises:
        CheckpointError: the modules or weights do not fit the installed ultralytics; the message names each.
        DependencyError: ultralytics is not installed.
        OptionError: the image size is not a multiple of the largest stride, or the labels are too few.
    """
    refuse_other_options(hints, heads=True)
    _require_ultralytics()
    from deploykit_exporters.families.yolo.ultralytics import spec as facts
    from deploykit_exporters.families.yolo.ultralytics.network import build_networks, input_channels

    checkpoint, settings, task = _with_modules(checkpoint, hints)
    tree = checkpoint.module
    one_to_one, assumed = choose_branch(tree, hints.head)
    reference, exportable = build_networks(checkpoint, one_to_one=one_to_one)
    stride, num_classes = facts.max_stride(reference), _num_classes(reference, task)
    own_size = facts.trained_size(
        None if is_ignored(settings, "train_args:imgsz") else checkpoint.meta.get("train_args"),
        None if is_ignored(settings, "model.args:imgsz") else getattr(tree, "args", None),
    )
    height, width, assumed_size = _image_size(own_size, hints, task, stride)
    names, transforms = (
        None if is_ignored(settings, f"model:{name}") else getattr(tree, name, None)
        for name in ("names", "transforms")
    )
    names = given_or_listed(hints, names, num_classes)
    preprocess, assumed_preprocess = _preprocess(transforms, task, height, width, stride)
    output = facts.output_spec(reference, task)
    spec = ModelSpec(
        task=task,
        family=match.family,
        variant=hints.variant or facts.variant_of(tree, task),
        origin=match.origin,
        input=InputSpec(height=height, width=width, channels=input_channels(reference)),
        preprocess=preprocess,
        output=output,
        classes=names,
        num_classes=num_classes,
        source=checkpoint.path.name,
        source_sha256=checkpoint.sha256,
        recognised=_recognised(checkpoint, names, num_classes),
        assumed=(*assumed_size, *assumed, *_assumed_names(names), *assumed_preprocess),
    )
    return BuiltModel(
        module=reference,
        exportable=exportable,
        spec=spec,
        axes=facts.axes(reference, (height, width)),
        groups=facts.output_groups(output, num_classes, task),
        settings=settings,
        witness=lambda: ask_ultralytics(checkpoint, spec, reference, transforms),
    )


def _with_modules(checkpoint: Checkpoint, hints: Hints) -> tuple[Checkpoint, tuple[Setting, ...], Task]:
    """The checkpoint with its modules, the treatment of its settings, and its task."""
    if checkpoint.module is not None:
        _refuse_distillation(checkpoint)
        task = task_of(checkpoint.module)
        return checkpoint, account_settings(checkpoint, hints, task), task
    from deploykit_exporters.families.yolo.ultralytics.state_dict import with_modules

    checkpoint, settings = with_modules(checkpoint, hints)
    return checkpoint, (*account_file(checkpoint, hints), *settings), task_of(checkpoint.module)


def _refuse_distillation(checkpoint: Checkpoint) -> None:
    if "model" not in children(checkpoint.module):
        raise CheckpointError(
            f"{checkpoint.path.name} holds a DistillationModel: a distillation that has not ended.",
            hint="ultralytics.utils.torch_utils.strip_optimizer(FILE) leaves the student, as the end of the "
            "training does.",
        )


def _require_ultralytics() -> None:
    try:
        require("ultralytics.nn.tasks", extra="yolo", purpose="rebuild an Ultralytics network")
    except DependencyError as error:
        raise DependencyError(
            error.problem, hint=f"{error.hint} (ultralytics is licensed under AGPL-3.0)."
        ) from error


def _image_size(
    trained: tuple[int, int] | None, hints: Hints, task: Task, stride: int
) -> tuple[int, int, tuple[str, ...]]:
    """Height, width, and the assumption about them."""
    default = 224 if task == "classify" else 640
    # Ultralytics rounds the size of the training arguments up to the stride, too.
    own_height, own_width = (-(-side // stride) * stride for side in trained or (default, default))
    height, width = image_size(hints, (own_height, own_width), stride)
    known = trained is not None or hints.imgsz is not None
    assumed = () if known else (f"image size {height}x{width}, the default of Ultralytics",)
    return height, width, assumed


def _assumed_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return () if names else ("no class names: the file does not name every class",)


def _num_classes(network: YoloNetwork, task: Task) -> int:
    return int(network.head.linear.out_features if task == "classify" else network.head.nc)


def _preprocess(
    transforms: Any, task: Task, height: int, width: int, stride: int
) -> tuple[Preprocess, tuple[str, ...]]:
    """The pre-processing of ``ultralytics.engine.predictor``: RGB, 0..1; and what was assumed about it."""
    if task == "classify":
        how = classify_preprocess(transforms, height, width)
        return how, assumed_transforms(transforms, how)
    letterbox = Preprocess(
        resize="letterbox",
        resize_to=(height, width),
        rounding="round",
        interpolation="bilinear",
        resampler="opencv",
        pad_value=114,
        stride=stride,
    )
    return letterbox, ()


def _recognised(checkpoint: Checkpoint, names: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    found = [f"{num_classes} classes, {'named' if names else 'without names'}"]
    trained_by = checkpoint.meta.get("version")
    if isinstance(trained_by, str):
        found.append(f"written by ultralytics {trained_by}")
    return tuple(found)
