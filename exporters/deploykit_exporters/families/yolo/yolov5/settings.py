"""What a YOLOv5 file says besides its weights, and how it is treated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import children
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.yolo.detector_spec import expect_same, plain_attributes

__all__ = ["account_settings"]

_MODULES_TELL = "the pickled modules are what was built from it, and are read themselves"
_HEAD = ("nc", "nl", "na", "no", "nm", "npr", "stride", "anchors", "i", "f")


def account_settings(checkpoint: Checkpoint, hints: Hints) -> tuple[Setting, ...]:
    """The treatment of every setting in the file: of the training, the model and its head.

    Raises:
        CheckpointError: one of them does not agree with the network, or --config has one.
    """
    tree = checkpoint.module
    layers = list(children(children(tree).get("model")).values())
    head = layers[-1] if layers else None
    options = checkpoint.meta.get("opt")
    return (
        *_of_file(checkpoint, hints),
        *_of_training("opt", options if isinstance(options, Mapping) else plain_attributes(options), hints),
        *_of_model(tree, head, hints),
        *_of_head(head, hints),
        *Settings("config", hints.config or {}, hints.ignore).account(strict=True),
    )


def _of_file(checkpoint: Checkpoint, hints: Hints) -> tuple[Setting, ...]:
    values = {name: value for name, value in checkpoint.meta.items() if name != "opt"}
    settings = Settings("file", values, hints.ignore)
    settings.harmless("metrics and history of the training", "epoch", "best_fitness", "updates", "training_*")
    settings.harmless("who wrote the file, when and with what", "date", "git", "version", "wandb_id", "*_id")
    settings.harmless("the other set of weights", "model", "ema")
    settings.harmless("hyper-parameters of the training", "hyp")
    return settings.account(strict=False)


def _of_training(where: str, values: Mapping[str, Any], hints: Hints) -> tuple[Setting, ...]:
    settings = Settings(where, values, hints.ignore)
    settings.honoured("imgsz")
    settings.harmless("detect.py takes no option of the training", "*")
    return settings.account(strict=False)


def _of_model(tree: Any, head: Any, hints: Hints) -> tuple[Setting, ...]:
    settings = Settings("model", plain_attributes(tree), hints.ignore)
    settings.honoured("names", "yaml_file")
    expect_same(settings, "stride", getattr(head, "stride", None))
    settings.harmless(_MODULES_TELL, "yaml", "save", "nc", "cutoff", "md")
    settings.harmless(
        "the loss and its hyper-parameters, which only training uses", "hyp", "gr", "class_weights"
    )
    settings.harmless("memory of training only", "inplace", "traced")
    settings.harmless("names of classes for the loss", "label_smoothing", "anchors")
    return settings.account(strict=False)


def _of_head(head: Any, hints: Hints) -> tuple[Setting, ...]:
    settings = Settings("head", plain_attributes(head), hints.ignore)
    settings.honoured(*_HEAD)
    settings.harmless(
        "left by an export or a run before the file was saved; set again for every run",
        *("grid", "anchor_grid", "export", "dynamic", "onnx_dynamic", "inplace", "training"),
    )
    settings.harmless("how the layer is counted and called in the table of layers", "np", "type")
    settings.harmless("a method of another class, which its own stands for", "detect")
    return settings.account(strict=False)
