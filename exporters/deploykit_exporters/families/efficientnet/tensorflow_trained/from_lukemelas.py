"""EfficientNet-PyTorch by Luke Melas-Kyriazi, and the Lite weights published in the same form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import OptionError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.efficientnet.names import compound_name, native_size
from deploykit_exporters.families.efficientnet.source import EfficientNetSource, read_plan, split_stages
from deploykit_exporters.families.efficientnet.tensorflow_trained.training import (
    TENSORFLOW_EPS,
    tensorflow_evaluation,
)
from deploykit_exporters.families.shared.setting_values import sides_of

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "lukemelas"

_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


_PADDING = (
    "The padding is TensorFlow's for each size of image. EfficientNet-PyTorch keeps the padding of the "
    "image_size that it was built for, which the weights do not show: at other sizes answers differ by some "
    "thousandths, unless the size is given, as in --config '{\"image_size\": 224}'."
)


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the keys are those of the package. One of the two may be missing, so that an error can
    name it.
    """
    return ("_conv_stem.weight" in tensors or "_bn0.weight" in tensors) and any(
        key.startswith("_blocks.0._") for key in tensors
    )


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EfficientNetSource:
    """Translate the keys; padding and BatchNorm eps are TensorFlow's, where the weights come from.

    The package computes the padding for the image size that it was given, and keeps it at other sizes. That
    size comes from a pickled module or from the user (``image_size``); otherwise SAME padding is built for
    every size, which is identical at the training size.
    """
    names = _names(tensors)
    translated = {ours: tensors[theirs] for ours, theirs in names.items()}
    asked = _image_size(hints)
    plan = replace(read_plan(translated, padding="same", eps=TENSORFLOW_EPS), padded_for=asked)
    compound = compound_name(plan)
    # The released files trained with AdvProp are called adv-efficientnet-b0-b64d5a18.pth.
    advprop = "the file name" if checkpoint.path.name.startswith("adv-") else ""
    evaluation = tensorflow_evaluation(compound, hints.config, advprop=advprop)
    side = native_size(compound)
    return EfficientNetSource(
        tensors=translated,
        names=names,
        plan=plan,
        variant=f"efficientnet-{compound}" if compound else "",
        image_size=(side, side),
        preprocess=evaluation.build,
        preprocess_from=evaluation.told_by,
        assumed=() if asked is not None or checkpoint.module is not None else (_PADDING,),
    )


def _image_size(hints: Hints) -> Size | None:
    """The size that the network was built for, as given by the user.

    Raises:
        OptionError: it is not a size.
    """
    asked = (hints.config or {}).get("image_size")
    sides = sides_of(asked, channels=False)
    if sides is None and asked is not None:
        raise OptionError(
            f"--config says image_size = {asked!r}; wanted a number of pixels or [height, width]."
        )
    return sides


def _names(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The file's key for each key of the net."""
    places = _places(tensors)
    names = {}
    for key in tensors:
        layer, _, kind = key.rpartition(".")
        parts = layer.split(".")
        if len(parts) == 3 and parts[1] in places:
            inverted = f"_blocks.{parts[1]}._expand_conv.weight" in tensors
            inner = (_INVERTED if inverted else _SEPARABLE).get(parts[2], parts[2])
            names[f"{places[parts[1]]}{inner}.{kind}"] = key
        else:
            names[f"{_TOP.get(layer, layer)}.{kind}"] = key
    return names


def _places(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """``blocks.S.P.`` for each block number: the package numbers the blocks of all stages consecutively."""
    found = {key.split(".")[1] for key in tensors if key.startswith("_blocks.")}
    numbers = sorted((number for number in found if number.isdecimal()), key=int)
    blocks = [_description(f"_blocks.{number}.", tensors) for number in numbers]
    return {
        number: f"blocks.{stage}.{position}."
        for number, (stage, position) in zip(numbers, split_stages(blocks), strict=True)
    }


def _description(block: str, tensors: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """Output channels, kernel, and whether the block expands."""
    project, depthwise = (
        tensors.get(f"{block}{layer}.weight") for layer in ("_project_conv", "_depthwise_conv")
    )
    outputs = project.shape[0] if project is not None and project.ndim == 4 else 0
    kernel = depthwise.shape[-1] if depthwise is not None and depthwise.ndim == 4 else 0
    return outputs, kernel, int(f"{block}_expand_conv.weight" in tensors)
