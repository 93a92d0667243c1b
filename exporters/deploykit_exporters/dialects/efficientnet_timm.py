"""EfficientNets of timm: efficientnet_*, tf_efficientnet_*, -lite, -v2 and -EdgeTPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.optional import require

from deploykit_exporters.dialects.efficientnet import EfficientNetSource, Size, generation, read_plan
from deploykit_exporters.dialects.efficientnet_names import compound_name, native_size, parse_compound
from deploykit_exporters.dialects.imagenet import timm_preprocess
from deploykit_exporters.dialects.timm_config import attributes, hub_config

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.nets.efficientnet import EfficientNetPlan

__all__ = ["matches", "read"]

_NAME = re.compile(
    r"(tf_)?efficientnet(v2)?_(b\d|l2|lite\d|e[sml]|rw_[tsm]|xl|s|m|l)(_pruned)?(?![a-z0-9])(\.\w+)?"
)
# Its strides are in filters without weights, so that its keys and shapes are those of efficientnet_b0.
_REFUSED = "efficientnet_blur"
_TENSORFLOW_PRUNED = {"efficientnet_b1_pruned", "efficientnet_b2_pruned", "efficientnet_b3_pruned"}


@dataclass(frozen=True, kw_only=True)
class _Told:
    """Which model the weights are said to be, and by whom.

    Attributes:
        name: ``tf_efficientnet_b0``, or with timm's tag ``tf_efficientnet_b0.ns_jft_in1k``; empty when
            nothing tells it.
        source: ``--variant``, ``the checkpoint``, ``the file name``.
        args: Training arguments.
        hub: ``pretrained_cfg`` that came with the weights.
    """

    name: str
    source: str
    args: Mapping[str, Any]
    hub: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        return self.name.partition(".")[0]

    @property
    def tensorflow(self) -> bool:
        return self.name.startswith("tf_") or self.architecture in _TENSORFLOW_PRUNED


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """timm gives its mobile networks the same key names; stages and kernels tell which is an EfficientNet.

    The stem may be missing: then it can be named.
    """
    return (
        ("conv_stem.weight" in tensors or "bn1.weight" in tensors)
        and any(key.startswith("blocks.0.0.conv") for key in tensors)
        and generation(tensors) is not None
    )


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EfficientNetSource:
    """timm's keys are the net's own; what they do not tell is asked of the file's other entries."""
    told = _told(checkpoint, hints)
    plan = read_plan(tensors, padding="symmetric", eps=1e-5)
    if told.tensorflow:
        plan = replace(plan, padding="same", eps=1e-3)
    compound = compound_name(plan)
    fits = bool(told.name) and (parse_compound(told.name) == compound or "_pruned" in told.name)
    name = told.architecture if fits else _name(compound, tensorflow=told.tensorflow)
    config = _config(told.name if fits else name, checkpoint.path.name)
    side = native_size(compound)
    return EfficientNetSource(
        tensors=tensors,
        names={key: key for key in tensors},
        plan=plan,
        variant=name,
        image_size=_size(told.args, told.hub, config) or (side, side),
        preprocess=lambda size: timm_preprocess(size, hints.config or {}, told.args, told.hub, config),
        preprocess_from=_preprocess_from(told, name if fits else ""),
        classes=_class_names(told.hub, plan),
        assumed=() if told.name else (_guess(name),),
    )


def _told(checkpoint: Checkpoint, hints: Hints) -> _Told:
    args, hub = attributes(checkpoint.meta.get("args")), hub_config(checkpoint.meta)
    # timm writes arguments that were not given as None or an empty string.
    args = {key: value for key, value in args.items() if value not in (None, "")}
    tag = f".{hub['tag']}" if hub.get("tag") else ""
    claims = (
        (hints.variant, "--variant"),
        (checkpoint.meta.get("arch"), "the checkpoint"),
        (f"{hub.get('architecture', '')}{tag}", "the checkpoint"),
        (args.get("model"), "the checkpoint"),
        (checkpoint.path.name.rpartition(".")[0], "the file name"),
    )
    for claim, source in claims:
        if not isinstance(claim, str):
            continue
        if claim.startswith(_REFUSED):
            raise CheckpointError(
                f"{checkpoint.path.name} is an {claim}: EfficientNets with blur pooling are not supported."
            )
        match = _NAME.search(claim)
        if match is not None:
            return _Told(name=match[0], source=source, args=args, hub=hub)
        if source == "--variant":
            raise OptionError(
                f"--variant {claim} is no EfficientNet of timm.",
                hint="Write it as timm does: efficientnet_b0, tf_efficientnet_b0, tf_efficientnetv2_s.in21k.",
            )
    return _Told(name="", source="", args=args, hub=hub)


def _name(compound: str, *, tensorflow: bool) -> str:
    if not compound:
        return ""
    return f"{'tf_' if tensorflow else ''}efficientnet{'' if compound.startswith('v2') else '_'}{compound}"


def _guess(name: str) -> str:
    name = name or "EfficientNet"
    return (
        f"The network is timm's own {name} (symmetric padding, BatchNorm eps 1e-5); the TensorFlow-born "
        f"tf_{name} has the same keys and shapes: --variant tf_{name} says so."
    )


def _config(name: str, file_name: str) -> dict[str, Any]:
    """timm's settings for the released file of this name, or else for the model of this name."""
    timm = require("timm", extra="export", purpose="know how an EfficientNet is evaluated")
    architecture = name.partition(".")[0]
    if not architecture or not timm.is_model(architecture):
        return {}
    for tagged in timm.list_pretrained(f"{architecture}.*"):
        config = timm.get_pretrained_cfg(tagged).to_dict()
        if str(config.get("url", "")).endswith(f"/{file_name}") or tagged == name:
            return dict(config)
    config = timm.get_pretrained_cfg(architecture)
    return dict(config.to_dict()) if config is not None else {}


def _preprocess_from(told: _Told, name: str) -> str:
    if told.hub:
        return "timm's pretrained_cfg in the checkpoint"
    if {"mean", "std"} <= told.args.keys():
        return "the training arguments"
    return f"timm's configuration of {name}, named by {told.source}" if name else ""


def _size(*sources: Mapping[str, Any]) -> Size | None:
    """(height, width) of the first source that tells one: an int, [h, w] or [channels, h, w]."""
    for source in sources:
        value = source.get("input_size") or source.get("img_size")
        sides = (value, value) if isinstance(value, int) else tuple(value or ())
        if len(sides) in (2, 3) and all(isinstance(side, int) and side > 0 for side in sides):
            return sides[-2], sides[-1]
    return None


def _class_names(hub: Mapping[str, Any], plan: EfficientNetPlan) -> tuple[str, ...]:
    names = hub.get("label_names")
    if not isinstance(names, list | tuple) or len(names) != plan.classes:
        return ()
    words = hub.get("label_descriptions")
    described = words if isinstance(words, Mapping) else {}
    return tuple(str(described.get(name, name)) for name in names)
