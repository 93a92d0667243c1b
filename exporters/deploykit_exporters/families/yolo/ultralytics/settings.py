"""What an Ultralytics file says besides its weights, and how it is treated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit_runtimes.contract.spec import Task

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import children
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.yolo.detector_spec import expect_same, plain_attributes

__all__ = ["account_file", "account_settings"]

_MODULES_TELL = "the pickled modules are what was built from it, and are read themselves"
_NOT_KEPT = "predict() of ultralytics keeps no training argument but imgsz and task"
_EXPORT_STATE = "left by an export or a run before the file was saved; set again for every run"
_SELECTION = "predict() sets it: 300 detections, classes apart"


def account_settings(checkpoint: Checkpoint, hints: Hints, task: Task) -> tuple[Setting, ...]:
    """The treatment of every setting in the file: of the training, the model and its head.

    Raises:
        CheckpointError: one of them does not agree with the network, or cannot be built.
    """
    tree = checkpoint.module
    head = list(children(children(tree)["model"]).values())[-1]
    return (
        *account_file(checkpoint, hints),
        *_of_arguments("train_args", checkpoint.meta.get("train_args"), hints, task),
        *_of_arguments("model.args", getattr(tree, "args", None), hints, task),
        *_of_yaml(tree, hints),
        *_of_model(tree, head, hints, task),
        *_of_head(head, hints),
        *_of_user(hints),
    )


def account_file(checkpoint: Checkpoint, hints: Hints) -> tuple[Setting, ...]:
    """The treatment of everything in the file besides the model and its training arguments.

    Raises:
        CheckpointError: it holds something that changes the answers and cannot be built.
    """
    values = {name: value for name, value in checkpoint.meta.items() if name != "train_args"}
    settings = Settings("file", values, hints.ignore)
    settings.expect(
        "modelopt",
        instead="A quantised training (QAT) computes with rounded weights: export the network before it, or "
        "--ignore file:modelopt for the weights without rounding.",
    )
    settings.harmless(
        "metrics and history of the training", "epoch", "best_fitness", "updates", "train_*", "stopper"
    )
    settings.harmless("who wrote the file, when and with what", "date", "version", "license", "docs", "git")
    settings.harmless("the other set of weights", "model", "ema")
    settings.honoured("yaml", "names")
    return settings.account(strict=False)


def _of_arguments(where: str, found: Any, hints: Hints, task: Task) -> tuple[Setting, ...]:
    values = found if isinstance(found, Mapping) else vars(found) if hasattr(found, "__dict__") else {}
    settings = Settings(where, values, hints.ignore)
    settings.honoured("imgsz")
    _expect_task(settings, task)
    settings.harmless(_NOT_KEPT, "*")
    return settings.account(strict=False)


def _of_yaml(tree: Any, hints: Hints) -> tuple[Setting, ...]:
    found = getattr(tree, "yaml", None)
    settings = Settings("yaml", found if isinstance(found, Mapping) else {}, hints.ignore)
    settings.honoured("yaml_file", "scale", "width_multiple")  # the name of the variant
    settings.harmless(_MODULES_TELL, "*")
    return settings.account(strict=False)


def _of_model(tree: Any, head: Any, hints: Hints, task: Task) -> tuple[Setting, ...]:
    values = {name: value for name, value in plain_attributes(tree).items() if name not in ("args", "yaml")}
    settings = Settings("model", values, hints.ignore)
    settings.honoured("names", "save", "transforms")
    _expect_task(settings, task)
    for name in ("stride", "kpt_shape"):
        expect_same(settings, name, getattr(head, name, None))
    settings.harmless("which branch answers is not a property of the weights: --head chooses", "end2end")
    settings.harmless("memory of training only", "inplace")
    settings.harmless("the loss, which only training uses", "criterion", "class_weights", "hyp", "gr")
    settings.harmless("where the file was read from", "pt_path", "pt_file")
    settings.harmless("names of the keypoints; the answers have their numbers", "kpt_names")
    settings.harmless(_MODULES_TELL, "nc")
    return settings.account(strict=False)


def _of_head(head: Any, hints: Hints) -> tuple[Setting, ...]:
    settings = Settings("head", plain_attributes(head), hints.ignore)
    settings.expect(
        "xyxy", False, instead="Boxes of another form: --ignore head:xyxy reads them as predict()."
    )
    settings.harmless(_EXPORT_STATE, "export", "dynamic", "format", "shape", "anchors", "strides", "device")
    settings.harmless(_SELECTION, "max_det", "agnostic_nms", "conf", "iou")
    settings.harmless("how the layers were built, which are read themselves", "legacy", "inplace")
    settings.harmless("how the layer is counted and called in the table of layers", "np", "type")
    settings.honoured(*_HEAD)
    return settings.account(strict=False)


_HEAD = ("nc", "nl", "no", "reg_max", "stride", "nm", "npr", "ne", "kpt_shape", "nk", "nk_sigma", "i", "f")


def _of_user(hints: Hints) -> tuple[Setting, ...]:
    """The treatment of a --config for a whole model, whose modules already say everything."""
    return Settings("config", hints.config or {}, hints.ignore).account(strict=True)


def _expect_task(settings: Settings, task: Task) -> None:
    settings.expect("task", task)
