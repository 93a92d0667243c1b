"""EfficientNets of timm, torchvision, lukemelas, mmpretrain, Keras and transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from deploykit_runtimes.contract.spec import Activation, AxisRange, InputSpec, ModelSpec, OutputSpec
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.families.base import BuiltModel, Dialect, Hints, Match, OutputGroup
from deploykit_exporters.families.beside import settle_beside, stated_size
from deploykit_exporters.families.heads.join import Joined, join_head, without_classifiers, witness_of
from deploykit_exporters.families.shared.class_names import class_names
from deploykit_exporters.families.shared.classifiers import (
    check_config,
    first_match,
    matched_tensors,
    sensible,
)
from deploykit_exporters.families.shared.given_preprocess import usual_preprocess

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Size
    from deploykit_exporters.families.efficientnet.network import EfficientNetPlan
    from deploykit_exporters.families.efficientnet.source import EfficientNetSource

__all__ = ["FAMILY", "EfficientNetFamily"]

_MAX_BATCH = 1024
_MIN_SIDE = 32
_MAX_SIDE = 4096
# What the origins call their classifiers.
_OWN_HEADS = {
    "timm": "classifier",
    "torchvision": "classifier.1",
    "lukemelas": "_fc",
    "transformers": "classifier",
}
_LAST = {
    "timm": ("conv_head.weight",),
    "lukemelas": ("_conv_head.weight",),
    "transformers": ("efficientnet.encoder.top_conv.weight", "encoder.top_conv.weight"),
}
# Those that the other origins have under names of classifiers.
_OWN_LAYERS = {"mmpretrain": ("head.",), "keras": ("top", "classifier.")}
_HEAD = ("conv_head.", "bn2.", "classifier.")


# What the origins read from --config; timm's the arguments of its training script, too.
_IMAGES = ("mean", "std", "interpolation")
_SETTINGS = {
    "timm": (*_IMAGES, "crop_pct", "crop_mode", "scores"),
    "torchvision": (*_IMAGES, "eps", "scores"),
    "lukemelas": ("mean", "std", "advprop", "image_size", "eps", "scores"),
    "keras": ("mean", "std", "advprop", "scores"),
}


# What --config calls the settings of a file's training code.
_OPTIONS = {
    "crop": "crop_pct",
    "scores": "scores",
    "multi-label": "scores",
    "eps": "eps",
    **{name: name for name in _IMAGES},
}


def _dialects() -> Mapping[str, Dialect[EfficientNetSource]]:
    """The dialects by origin, in the order in which they are tried."""
    from deploykit_exporters.families.efficientnet import from_mmpretrain as efficientnet_mmpretrain
    from deploykit_exporters.families.efficientnet import from_timm as efficientnet_timm
    from deploykit_exporters.families.efficientnet import from_torchvision as efficientnet_torchvision
    from deploykit_exporters.families.efficientnet.tensorflow_trained import from_keras as efficientnet_keras
    from deploykit_exporters.families.efficientnet.tensorflow_trained import (
        from_lukemelas as efficientnet_lukemelas,
    )
    from deploykit_exporters.families.efficientnet.tensorflow_trained import (
        from_transformers as efficientnet_transformers,
    )

    dialects: tuple[Dialect[EfficientNetSource], ...] = (
        efficientnet_lukemelas,
        efficientnet_torchvision,
        efficientnet_mmpretrain,
        efficientnet_keras,
        efficientnet_transformers,
        efficientnet_timm,
    )
    return {dialect.ORIGIN: dialect for dialect in dialects}


class EfficientNetFamily:
    """Recognises EfficientNets by their keys and builds them from their shapes."""

    name = "efficientnet"

    def match(self, checkpoint: Checkpoint) -> Match | None:
        return first_match(checkpoint, self.name, _dialects())

    def build(self, checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
        from deploykit_exporters.families.efficientnet.names import name_in_file
        from deploykit_exporters.families.efficientnet.network import EfficientNet
        from deploykit_exporters.families.efficientnet.pickled import with_module_settings
        from deploykit_exporters.families.efficientnet.source import with_eps
        from deploykit_exporters.families.shared.loading import load_strict
        from deploykit_exporters.families.shared.unfilled import unfilled

        known = _SETTINGS.get(match.origin)
        if known is not None and not (match.origin == "timm" and "model" in (hints.config or {})):
            check_config(hints, known)
        joined = _join(checkpoint, match, hints)
        with sensible(checkpoint, "an EfficientNet"):
            source = _dialects()[match.origin].read(checkpoint, joined.tensors, hints)
            source.preprocess(hints.imgsz or source.image_size)
        if checkpoint.module is not None and match.origin != "timm":
            source = with_module_settings(source, checkpoint.module, match.prefix, features=hints.features)
        if "eps" in _SETTINGS.get(match.origin, ()):
            source = with_eps(source, hints.config or {}, told=checkpoint.module is not None)
        hints, size_from = _with_size(checkpoint, source, hints)
        _check_variant(source.plan, hints)
        if not (source.plan.classes and source.plan.head) and not hints.features:
            raise CheckpointError(
                f"{checkpoint.path.name} is an EfficientNet without a classifier.",
                hint="Export its feature maps with --features.",
            )
        with unfilled():
            module = EfficientNet(source.plan, features=hints.features)
        if source.confirm is not None:
            source.confirm(module)
        load_strict(
            module,
            _needed(source, features=hints.features),
            source=checkpoint.path.name,
            name=partial(name_in_file, source.names),
        )
        if joined.head is not None:
            module.classifier = joined.head  # type: ignore[assignment]
        found = _Found(checkpoint=checkpoint, match=match, hints=hints, source=source, joined=joined)
        built = BuiltModel(
            module=module,
            spec=_spec(found),
            axes=_axes(found.size),
            groups=_groups(source.plan, features=hints.features),
            exporter="torchscript",
            settings=(*source.settings, *joined.settings),
            notes=size_from,
            witness=witness_of(source.witness, joined, match.origin, found.size, features=hints.features),
        )
        options = {about: key for about, key in _OPTIONS.items() if key in _SETTINGS.get(match.origin, ())}
        return settle_beside(built, checkpoint, hints, options, prefix=match.prefix)


def _with_size(
    checkpoint: Checkpoint, source: EfficientNetSource, hints: Hints
) -> tuple[Hints, tuple[str, ...]]:
    """The image size according to custom training code, if nothing else gives it."""
    size, where = stated_size(checkpoint, source.settings, hints)
    if hints.imgsz is not None or not where:
        return hints, ()
    return replace(hints, imgsz=size), (f"The size of images, {size[0]}x{size[1]}, is that of {where}.",)


def _join(checkpoint: Checkpoint, match: Match, hints: Hints) -> Joined:
    """The weights with their classifier, for origins whose own classifier is a single layer."""
    tensors = matched_tensors(checkpoint, match)
    own = _OWN_HEADS.get(match.origin)
    if own is None:
        return without_classifiers(checkpoint, match, hints, own=_OWN_LAYERS.get(match.origin, ()))
    return join_head(checkpoint, match, own, _width(tensors, match.origin), hints)


def _width(tensors: Mapping[str, torch.Tensor], origin: str) -> int:
    """Channels of the last convolution; 0 if there is none."""
    last = _LAST.get(origin)
    if last is None:
        stages = [
            int(key.split(".")[1]) for key in tensors if re.match(r"features\.\d{1,4}\.0\.weight$", key)
        ]
        last = (f"features.{max(stages, default=0)}.0.weight",)
    return next((next(iter(tensors[key].shape), 0) for key in last if key in tensors), 0)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Everything known about a checkpoint."""

    checkpoint: Checkpoint
    match: Match
    hints: Hints
    source: EfficientNetSource
    joined: Joined

    @property
    def plan(self) -> EfficientNetPlan:
        return self.source.plan

    @property
    def size(self) -> Size:
        return self.hints.imgsz or self.source.image_size


def _check_variant(plan: EfficientNetPlan, hints: Hints) -> None:
    """Refuse a --variant whose depths or widths differ from those of the weights.

    Raises:
        OptionError: says which variant the weights are.
    """
    from deploykit_exporters.families.efficientnet.names import compound_name, parse_compound

    asked, found = parse_compound(hints.variant or ""), compound_name(plan)
    if asked and found and asked != found:
        raise OptionError(
            f"--variant {hints.variant} names an EfficientNet {asked}, but the weights are a {found}'s.",
            hint="Leave --variant out: depths and widths are read from the weights.",
        )


def _needed(source: EfficientNetSource, *, features: bool) -> dict[str, torch.Tensor]:
    head = _HEAD if features else ()
    return {key: tensor for key, tensor in source.tensors.items() if not key.startswith(head)}


def _axes(size: Size) -> dict[str, AxisRange]:
    side = AxisRange(min=min(_MIN_SIDE, *size), max=max(_MAX_SIDE, *size))
    return {"batch": AxisRange(min=1, max=_MAX_BATCH), "height": side, "width": side}


def _groups(plan: EfficientNetPlan, *, features: bool) -> tuple[OutputGroup, ...]:
    if features:
        return tuple(OutputGroup(output=name) for name in _map_names(plan))
    return (OutputGroup(output="logits", kind="scores", axis=1),)


def _map_names(plan: EfficientNetPlan) -> tuple[str, ...]:
    halvings = sum(stage[0].stride == 2 for stage in plan.stages)
    return tuple(f"stage{index}" for index in range(halvings + 1))


def _spec(found: _Found) -> ModelSpec:
    plan, source, hints = found.plan, found.source, found.hints
    classes, assumed_classes = (
        ((), ()) if hints.features else class_names(hints, source.classes, plan.classes)
    )
    how = source.preprocess(found.size)
    assumed_preprocess = () if source.preprocess_from else (usual_preprocess(how, found.match.origin),)
    return ModelSpec(
        task="features" if hints.features else "classify",
        family="efficientnet",
        variant=source.variant or _custom_name(plan),
        origin=found.match.origin,
        input=InputSpec(height=found.size[0], width=found.size[1], channels=plan.channels),
        preprocess=how,
        output=_output(found),
        classes=classes,
        num_classes=0 if hints.features else plan.classes,
        source=found.checkpoint.path.name,
        source_sha256=found.checkpoint.sha256,
        recognised=_recognised(found),
        assumed=(*source.assumed, *found.joined.assumed, *assumed_preprocess, *assumed_classes),
    )


def _output(found: _Found) -> OutputSpec:
    source = found.source
    if found.hints.features:
        names = _map_names(source.plan)
        strides = tuple(2 ** (index + 1) for index in range(len(names)))
        return OutputSpec(names=names, layout="features", strides=strides)
    usual: Activation = "sigmoid" if source.sigmoid or source.plan.classes == 1 else "softmax"
    return OutputSpec(
        names=("logits",), layout="logits", activation=found.joined.scores or source.scores or usual
    )


def _custom_name(plan: EfficientNetPlan) -> str:
    depths = "-".join(str(len(stage)) for stage in plan.stages)
    return f"custom (stem {plan.stem}, depths {depths}, head {plan.head})"


def _recognised(found: _Found) -> tuple[str, ...]:
    plan = found.plan
    blocks = sum(len(stage) for stage in plan.stages)
    padding = "TensorFlow's SAME padding" if plan.padding == "same" else "symmetric padding"
    padding = padding if plan.stem_pads is None else "its own padding where the resolution halves"
    norm = f"GroupNorm of {plan.norm_group} channels," if plan.norm_group else "BatchNorm"
    most = max(block.experts for stage in plan.stages for block in stage)
    experts = f", kernels mixed from up to {most} experts" if most else ""
    sentence = (
        f"An EfficientNet in {found.match.origin}'s form: {blocks} blocks in {len(plan.stages)} stages, "
        f"{plan.activation}, {padding}, {norm} eps {plan.eps:g}{experts}."
    )
    if found.source.preprocess_from:
        return sentence, f"Pre-processing is from {found.source.preprocess_from}."
    return (sentence,)


FAMILY = EfficientNetFamily()
