"""EfficientNets from torchvision: efficientnet_b0 to b7 and efficientnet_v2_s, _m, _l."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Preprocess
from deploykit_runtimes.optional import require

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.efficientnet.names import compound_name, native_size
from deploykit_exporters.families.efficientnet.source import EfficientNetSource, is_fused, read_plan
from deploykit_exporters.families.shared.imagenet import crop_preprocess
from deploykit_exporters.families.shared.torchvision_files import published, read_file, torchvision_witness

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints, Witness

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "torchvision"

_STAGE_LAYER = re.compile(r"features\.(\d+)\.(\d+)\.(.+)\.(\w+)")
_END_LAYER = re.compile(r"features\.(\d+)\.([01])\.(\w+)")
# Fine-tuning code often replaces the whole classifier, or another element of it.
_CLASSIFIER = re.compile(r"classifier\.(?:\d+\.)?(weight|bias)")
# Layers of a block by what it consists of: position inside ``block`` to the net's names.
_EXCITE = {"fc1": "se.conv_reduce", "fc2": "se.conv_expand"}
_INVERTED = {
    "block.0.0": "conv_pw",
    "block.0.1": "bn1",
    "block.1.0": "conv_dw",
    "block.1.1": "bn2",
    **{f"block.2.{layer}": name for layer, name in _EXCITE.items()},
    "block.3.0": "conv_pwl",
    "block.3.1": "bn3",
}
_SEPARABLE = {
    "block.0.0": "conv_dw",
    "block.0.1": "bn1",
    **{f"block.1.{layer}": name for layer, name in _EXCITE.items()},
    "block.2.0": "conv_pw",
    "block.2.1": "bn2",
}
_EDGE = {"block.0.0": "conv_exp", "block.0.1": "bn1", "block.1.0": "conv_pwl", "block.1.1": "bn2"}
_PLAIN = {"block.0.0": "conv", "block.0.1": "bn1"}
_EPS_THOUSANDTH = {"b5", "b6", "b7"}
_SETTINGS = {"interpolation", "mean", "std"}


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the keys are torchvision's. One of the three may be missing, so that an error can name it."""
    marks = ("features.0.0.weight", "features.1.0.block.0.0.weight", "features.2.0.block.0.0.weight")
    found = [tensors[key] for key in marks if key in tensors]
    return len(found) >= len(marks) - 1 and all(tensor.ndim == 4 for tensor in found)


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EfficientNetSource:
    """Translate the keys; eps and evaluation are those of torchvision's variant."""
    names = _names(tensors)
    translated = {ours: tensors[theirs] for ours, theirs in names.items()}
    plan = read_plan(translated, padding="symmetric", eps=1e-5)
    compound = compound_name(plan)
    if is_fused(plan) or compound in _EPS_THOUSANDTH:
        plan = replace(plan, eps=1e-3)
    name = f"efficientnet_{compound}" if compound else ""
    file = read_file(checkpoint, hints)
    file.confirm_name(name)
    told, entry = file.evaluation(), published(name, checkpoint.path.name)
    settings = _evaluation(name, entry)
    asked = {key: value for key, value in (hints.config or {}).items() if key in _SETTINGS}
    side = told[0] if told is not None else settings["crop"] or native_size(compound)

    def preprocess(size: Size) -> Preprocess:
        how = told[1](size) if told is not None else None
        return crop_preprocess(
            size,
            resize=how.resize_to[0]
            if how is not None
            else round(max(size) * (settings["resize"] or side) / side),
            interpolation=asked.get(
                "interpolation", how.interpolation if how is not None else settings["interpolation"]
            ),
            mean=tuple(asked.get("mean", settings["mean"])),
            std=tuple(asked.get("std", settings["std"])),
        )

    def witness(size: Size, *, features: bool) -> Witness | str:
        transform = None if asked else file.transform(size)
        if transform is None and not asked and told is None and entry is not None and size == (side, side):
            transform = entry.transforms()
        return torchvision_witness(
            name, tensors, transform, size, module=checkpoint.module, hints=hints, features=features
        )

    told_by = "the training arguments" if told is not None else f"torchvision's {entry}" if entry else ""
    return EfficientNetSource(
        tensors=translated,
        names=names,
        plan=plan,
        variant=name,
        image_size=(side, side),
        preprocess=preprocess,
        preprocess_from="--config" if asked else told_by,
        settings=file.account(),
        witness=witness,
    )


def _evaluation(name: str, entry: Any) -> dict[str, Any]:
    """The evaluation transform that torchvision publishes with some weights, otherwise with its best
    weights of the variant.
    """
    models = require("torchvision.models", extra="export", purpose="read an EfficientNet's evaluation")
    known = name in models.list_models()
    transform = (entry or models.get_model_weights(name if known else "efficientnet_b0").DEFAULT).transforms()
    return {
        "resize": transform.resize_size[0] if known else None,
        "crop": transform.crop_size[0] if known else None,
        "interpolation": transform.interpolation.value,
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
    }


def _names(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The file's key for each key of the net."""
    last = max(int(match[1]) for key in tensors if (match := re.match(r"features\.(\d{1,4})\.", key)))
    ends = {0: ("conv_stem", "bn1"), last: ("conv_head", "bn2")}
    names = {}
    for key in tensors:
        if match := _CLASSIFIER.fullmatch(key):
            ours = f"classifier.{match[1]}"
        elif (match := _END_LAYER.fullmatch(key)) and int(match[1]) in ends:
            ours = f"{ends[int(match[1])][int(match[2])]}.{match[3]}"
        elif match := _STAGE_LAYER.fullmatch(key):
            stage, position, layer, kind = match.groups()
            inner = _layers(f"features.{stage}.{position}.", tensors).get(layer, layer)
            ours = f"blocks.{int(stage) - 1}.{position}.{inner}.{kind}"
        else:
            ours = key
        # Two elements of a classifier would be called the same: then the second keeps its own name.
        names[ours if ours not in names else key] = key
    return names


def _layers(block: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The layers of a block, recognised by the position of its squeeze-and-excitation."""
    if f"{block}block.2.fc1.weight" in tensors or f"{block}block.3.0.weight" in tensors:
        return _INVERTED
    if f"{block}block.1.fc1.weight" in tensors or f"{block}block.2.0.weight" in tensors:
        return _SEPARABLE
    return _EDGE if f"{block}block.1.0.weight" in tensors else _PLAIN
