"""CrossFormer and CrossFormer++: classifiers and backbones of the official code."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.families.base import BuiltModel, Hints, Match, OutputGroup
from deploykit_exporters.families.beside import settle_beside, stated_size
from deploykit_exporters.families.crossformer import from_official as official
from deploykit_exporters.families.crossformer.config import TrainingConfig, training_config
from deploykit_exporters.families.crossformer.exportable import dynamic_form, fixed_form
from deploykit_exporters.families.crossformer.network import CrossFormer, CrossFormerConfig
from deploykit_exporters.families.heads.join import join_head
from deploykit_exporters.families.shared.class_names import class_names
from deploykit_exporters.families.shared.classifiers import matched_tensors
from deploykit_exporters.families.shared.imagenet import (
    crop_preprocess,
    stretch_preprocess,
)
from deploykit_exporters.families.shared.loading import load_strict
from deploykit_exporters.families.shared.unfilled import unfilled

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["FAMILY", "VARIANTS", "CrossFormerFamily"]

VARIANTS: dict[tuple[int, tuple[int, ...], bool], str] = {
    (64, (1, 1, 8, 6), False): "crossformer_tiny",
    (96, (2, 2, 6, 2), False): "crossformer_small",
    (96, (2, 2, 18, 2), False): "crossformer_base",
    (128, (2, 2, 18, 2), False): "crossformer_large",
    (64, (2, 2, 18, 2), True): "crossformer_pp_small",
    (96, (2, 2, 18, 2), True): "crossformer_pp_base",
    (128, (2, 2, 18, 2), True): "crossformer_pp_large",
    (128, (6, 6, 18, 2), True): "crossformer_pp_huge",
}
"""(first width, depths, cooling layers) -> name, as the official configurations have them."""

_MAX_SIDE, _MAX_BATCH = 4096, 1024
_IMAGE_SIZE = 224


class CrossFormerFamily:
    """CrossFormer-T/S/B/L, CrossFormer++-S/B/L/H, and any other configuration of the official code."""

    name = "crossformer"

    def match(self, checkpoint: Checkpoint) -> Match | None:
        """Claim weights with cross-scale embedding and a dynamic position bias, under any prefix."""
        for view in checkpoint.views():
            if official.matches(view.tensors):
                return Match(family=self.name, origin="official", score=0.95, prefix=view.prefix)
        return None

    def build(self, checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
        """Build the network and load every weight.

        Raises:
            CheckpointError: weights or settings do not fit, each named.
            OptionError: a hint contradicts the weights.
            DependencyError: timm, which names the ImageNet classes, is not installed.
        """
        norm = matched_tensors(checkpoint, match).get("norm.weight")
        joined = join_head(checkpoint, match, "head", 0 if norm is None else next(iter(norm.shape), 0), hints)
        tensors = joined.tensors
        training = training_config(checkpoint, hints.config, hints.ignore)
        notes: tuple[str, ...] = ()
        if hints.imgsz is None and (training is None or training.image_size is None):
            told, where = stated_size(checkpoint, (), hints)
            if where:
                hints = dataclasses.replace(hints, imgsz=told)
                notes = (f"The size of images, {told[0]}x{told[1]}, is that of {where}.",)
        plan = official.attention_plan(tensors, training)
        features = hints.features or not official.has_head(tensors)
        config = official.architecture(tensors, plan, features=features)
        model = _load(config, official.weights(tensors, features=features), source=checkpoint.path.name)
        if training is not None:
            training.confirm(config)
        if joined.head is not None:
            model.head = joined.head  # type: ignore[assignment]
        spec = _spec(config, plan, training, hints)
        spec = dataclasses.replace(spec, assumed=(*spec.assumed, *joined.assumed))
        if joined.scores is not None:
            output = dataclasses.replace(spec.output, activation=joined.scores)
            spec = dataclasses.replace(spec, output=output)
        longest = max(_MAX_SIDE, spec.input.height, spec.input.width)
        side = AxisRange(min=_smallest_side(config), max=longest)
        built = BuiltModel(
            module=model,
            spec=spec,
            axes={"batch": AxisRange(min=1, max=_MAX_BATCH), "height": side, "width": side},
            groups=tuple(
                OutputGroup(output=name) if features else OutputGroup(output=name, kind="scores", axis=1)
                for name in spec.output.names
            ),
            exportable=dynamic_form(model),
            fixed=lambda height, width: fixed_form(model, height, width),
            exporter="torchscript",
            settings=(*(training.settings if training is not None else ()), *joined.settings),
            notes=notes,
        )
        return settle_beside(built, checkpoint, hints, {}, prefix=match.prefix)


def _load(config: CrossFormerConfig, tensors: dict[str, torch.Tensor], *, source: str) -> CrossFormer:
    with unfilled():
        model = CrossFormer(config)
    model = model.to_empty(device="cpu")
    load_strict(model, tensors, source=source)
    return model


def _spec(
    config: CrossFormerConfig, plan: official.AttentionPlan, training: TrainingConfig | None, hints: Hints
) -> ModelSpec:
    features = not config.num_classes
    own_size = training.image_size if training is not None else None
    size = _image_size(config, hints, own_size or _IMAGE_SIZE)
    attention = (
        f"groups {_dashed(config.groups)}, intervals "
        f"{_dashed(config.intervals) if any(config.intervals) else 'that follow the map'}, {plan.origin}"
    )
    recognised = [
        f"width {config.widths[0]}, depths {_dashed(config.depths)}, heads {_dashed(config.heads)}, "
        "from keys and shapes"
    ]
    assumed: list[str] = []
    (assumed if plan.assumed else recognised).append(attention)
    if hints.imgsz is None and own_size is None:
        assumed.append(f"image size {size[0]}x{size[1]}")
    elif hints.imgsz is None and training is not None:
        recognised.append(f"image size {own_size}, from {training.source}")
    preprocess = _preprocess(size, training, features=features)
    assumed.append(_described(preprocess))
    of_imagenet = training is not None and training.imagenet
    classes, assumed_classes = (
        ((), ()) if features else class_names(hints, (), config.num_classes, of_imagenet=of_imagenet)
    )
    assumed += assumed_classes
    return ModelSpec(
        task="features" if features else "classify",
        family=CrossFormerFamily.name,
        variant=_variant(config, hints),
        origin="official",
        input=InputSpec(height=size[0], width=size[1], channels=config.channels),
        preprocess=preprocess,
        output=_output(config),
        classes=classes,
        num_classes=config.num_classes,
        recognised=tuple(recognised),
        assumed=tuple(assumed),
    )


def _smallest_side(config: CrossFormerConfig) -> int:
    """The number of pixels that leaves one token in the last stage."""
    return config.embed_kernels[0] << (len(config.depths) - 1)


def _image_size(config: CrossFormerConfig, hints: Hints, own: int) -> tuple[int, int]:
    size = hints.imgsz or (own, own)
    smallest = _smallest_side(config)
    if min(size) < smallest:
        raise OptionError(
            f"The image size {size[0]},{size[1]} is below the {smallest} pixels that are needed."
        )
    return size


def _variant(config: CrossFormerConfig, hints: Hints) -> str:
    """The published name, or a description such as ``crossformer_d16_1-2-2-2``."""
    cooling = any(config.cooling)
    described = f"crossformer{'_pp' if cooling else ''}_d{config.widths[0]}_{_dashed(config.depths)}"
    found = VARIANTS.get((config.widths[0], config.depths, cooling), described)
    if hints.variant not in (None, found):
        known = ", ".join(VARIANTS.values())
        if hints.variant in VARIANTS.values():
            raise CheckpointError(f"--variant {hints.variant} was wanted, but the weights are {found}.")
        raise OptionError(f"--variant {hints.variant} is not one of {known}; the weights are {found}.")
    return found


def _preprocess(size: tuple[int, int], training: TrainingConfig | None, *, features: bool) -> Preprocess:
    """The evaluation of the official classification code (``data/build.py``): the short edge to 256 for
    224 pixels, bicubic by Pillow, centre crop. For a backbone, the detector's own resize is unknown.
    """
    interpolation = training.interpolation if training is not None else "bicubic"
    if features:
        return stretch_preprocess(size)
    if training is not None and not training.crop:
        return stretch_preprocess(size, interpolation=interpolation)
    return crop_preprocess(size, resize=256 * max(size) // 224, interpolation=interpolation)


def _described(preprocess: Preprocess) -> str:
    resize = (
        f"short edge to {preprocess.resize_to[0]}, centre crop"
        if preprocess.resize == "short"
        else "resize to the input size without a crop"
    )
    return f"pre-processing: {resize}, {preprocess.interpolation}, ImageNet mean and std"


def _output(config: CrossFormerConfig) -> OutputSpec:
    if config.num_classes:
        return OutputSpec(
            names=("logits",),
            layout="logits",
            activation="softmax" if config.num_classes > 1 else "sigmoid",
        )
    stages = range(len(config.depths))
    return OutputSpec(
        names=tuple(f"stage{stage}" for stage in stages),
        layout="features",
        strides=tuple(config.embed_kernels[0] << stage for stage in stages),
    )


def _dashed(values: tuple[int, ...]) -> str:
    return "-".join(map(str, values))


FAMILY = CrossFormerFamily()
