"""EfficientNets from timm: efficientnet_*, tf_efficientnet_*, -lite, -v2 and -EdgeTPU."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.optional import require

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.efficientnet.names import compound_name, native_size, parse_compound
from deploykit_exporters.families.efficientnet.source import EfficientNetSource, generation, read_plan
from deploykit_exporters.families.efficientnet.timm_named import (
    check_layers,
    compare,
    constructor,
    find_template,
    unseen,
)
from deploykit_exporters.families.shared.imagenet import timm_preprocess
from deploykit_exporters.families.shared.setting_values import sides_of
from deploykit_exporters.families.shared.timm_library.config import TimmFile, attributes, read_file
from deploykit_exporters.families.shared.timm_library.template import (
    first_of,
    other_weights,
    pickled_model,
    refuse_differences,
)
from deploykit_exporters.families.shared.timm_library.witness import UNNAMED, not_asked, timm_witness

if TYPE_CHECKING:
    import torch
    from torch import nn

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints, Witness
    from deploykit_exporters.families.efficientnet.network import EfficientNetPlan

__all__ = ["ORIGIN", "matches", "read"]

ORIGIN = "timm"

_NAME = re.compile(
    r"(tf_)?efficientnet(v2)?_(b\d|l2|lite\d|e[sml]|rw_[tsm]|xl|s|m|l)(_pruned)?(?![a-z0-9])(\.\w+)?"
)
_TENSORFLOW_PRUNED = {"efficientnet_b1_pruned", "efficientnet_b2_pruned", "efficientnet_b3_pruned"}


@dataclass(frozen=True, kw_only=True)
class _NamedModel:
    """The model that the weights are said to be, and the source of that information.

    Attributes:
        name: ``tf_efficientnet_b0``, or with timm's tag ``tf_efficientnet_b0.ns_jft_in1k``; empty if unknown.
        source: ``--variant``, ``the checkpoint``, ``the file name``.
        model: timm's own model of that name, without weights; None if timm has none.
        arguments: The arguments given to its constructor.
        other: How the weights differ from it.
    """

    name: str
    source: str
    model: Any = None
    arguments: Mapping[str, Any]
    other: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        return self.name.partition(".")[0]

    @property
    def tensorflow(self) -> bool:
        return self.name.startswith("tf_") or self.architecture in _TENSORFLOW_PRUNED


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are an EfficientNet's weights: timm's mobile networks share key names, and differ in
    stages and kernels.

    The stem may be missing, so that an error can name it.
    """
    return (
        ("conv_stem.weight" in tensors or "bn1.weight" in tensors)
        and any(key.startswith("blocks.0.0.conv") for key in tensors)
        and generation(tensors) is not None
    )


def read(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints) -> EfficientNetSource:
    """Take timm's keys as they are, and read what they do not show from the file's other entries."""
    file = read_file(checkpoint, hints)
    told = _named_model(checkpoint, file, tensors, hints)
    built = _split_experts(tensors)
    plan = _plan(built, told)
    compound = compound_name(plan)
    fits = bool(told.name) and (
        parse_compound(told.name) == compound
        or "_pruned" in told.name
        or (told.model is not None and not told.other)
    )
    name = told.architecture if fits else _name(plan, tensorflow=told.tensorflow)
    config = _config(told.name if fits else name, checkpoint.path.name)
    side = native_size(compound)
    return EfficientNetSource(
        tensors=built,
        names={key: key for key in tensors},
        plan=plan,
        variant=name,
        image_size=sides_of(file.size) or sides_of(config.get("input_size")) or (side, side),
        preprocess=lambda size: timm_preprocess(
            size,
            hints.config or {},
            file.args,
            file.pretrained,
            *(() if file.published else (config,)),
        ),
        preprocess_from=file.preprocess_from
        or (f"timm's configuration of {name}, named by {told.source}" if name and fits else ""),
        classes=file.class_names,
        assumed=_assumed(told, plan, name),
        settings=file.account(plan.channels, named=told.model is not None),
        witness=partial(_witness, told, file, tensors, hints),
        confirm=None if told.model is None or told.other else partial(_confirm, told),
    )


def _split_experts(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with the experts' depthwise kernels separated: [experts, C * k * k] becomes [C * experts,
    1, k, k].
    """
    found = dict(tensors)
    for key, tensor in tensors.items():
        norm = tensors.get(key.replace("conv_dw.weight", "bn2.weight"))
        if not key.endswith(".conv_dw.weight") or tensor.ndim != 2 or norm is None or norm.ndim != 1:
            continue
        experts, channels = tensor.shape[0], max(1, norm.shape[0])
        side = math.isqrt(tensor.shape[1] // channels)
        if channels * side * side == tensor.shape[1]:
            kernels = tensor.reshape(experts, channels, side, side).transpose(0, 1)
            found[key] = kernels.reshape(channels * experts, 1, side, side)
    return found


def _plan(tensors: Mapping[str, torch.Tensor], told: _NamedModel) -> EfficientNetPlan:
    """The structure according to the shapes, completed from the named model."""
    if told.model is not None and not told.other:
        padding, eps, activation, group = unseen(told.model)
        plan = read_plan(tensors, padding=padding, eps=eps, activation=activation)
        return replace(plan, norm_group=group)
    if "bn1.weight" in tensors and not any(key.endswith("running_mean") for key in tensors):
        raise CheckpointError(
            "The norms of this EfficientNet have no statistics: they are not BatchNorms, and the weights "
            "do not show how many channels a GroupNorm groups.",
            hint="Name it as timm does: --variant efficientnet_b0_gn",
        )
    plan = read_plan(tensors, padding="symmetric", eps=1e-5)
    return replace(plan, padding="same", eps=1e-3) if told.tensorflow else plan


def _named_model(
    checkpoint: Checkpoint, file: TimmFile, tensors: Mapping[str, torch.Tensor], hints: Hints
) -> _NamedModel:
    """The model that the file or the user names, as timm builds it.

    Raises:
        CheckpointError: it is not an EfficientNet that deploykit builds, or the weights do not fit the
            model with the file's arguments.
    """
    pickled = pickled_model(checkpoint.module)
    if pickled is not None:
        return _pickled(pickled, hints)
    name, source = _claimed(checkpoint, file, hints)
    arguments = file.arguments(constructor())
    if not name:
        file.refuse_unnamed(arguments, "efficientnet_b0")
    timm = require("timm", extra="export", purpose="build an EfficientNet")
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        return _NamedModel(name=name, source=source, arguments=arguments)
    stem, last = tensors.get("conv_stem.weight"), tensors.get("classifier.weight")
    given = {
        **arguments,
        "num_classes": 0 if last is None else int(last.shape[0]),
        **({} if stem is None or stem.ndim != 4 else {"in_chans": int(stem.shape[1])}),
    }
    model = find_template(architecture, given, where=file.where)
    other = tuple(other_weights(model, _counted(tensors), except_for=("classifier.",)))

    def without(key: str) -> list[str]:
        left = {one: value for one, value in given.items() if one != key}
        less = find_template(architecture, left, where=file.where)
        return other_weights(less, _counted(tensors), except_for=("classifier.",))

    file.refuse_other(architecture, other, without)
    return _NamedModel(name=name, source=source, model=model, arguments=given, other=other)


def _pickled(model: Any, hints: Hints) -> _NamedModel:
    """The pickled module itself, which has all the information."""
    told = attributes(getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None))
    name = str(hints.variant or told.get("architecture") or "")
    check_layers(model, name.partition(".")[0] or "pickled module")
    return _NamedModel(name=name, source="the pickled module", model=model, arguments={})


def _counted(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The weights with a counter for each norm, since files may omit the counters."""
    counters = {
        f"{key.removesuffix('running_mean')}num_batches_tracked": tensors[key].new_zeros(())
        for key in tensors
        if key.endswith("running_mean")
    }
    return {**counters, **tensors}


def _claimed(checkpoint: Checkpoint, file: TimmFile, hints: Hints) -> tuple[str, str]:
    """timm's name of the model, with its tag if it has one, and the source of the name; empty if there is
    none.

    Raises:
        OptionError: --variant is not an EfficientNet of timm.
    """
    timm = require("timm", extra="export", purpose="know an EfficientNet by its name")
    tags = [place.get("tag") for place in (file.pretrained, file.hub)]
    published = file.hub.get("architecture") or file.pretrained.get("architecture") or ""
    tag = next((f".{tag}" for tag in tags if tag and "." not in str(published)), "")
    claims = (
        (hints.variant, "--variant"),
        (file.arch, "the checkpoint"),
        (f"{published}{tag}", "the checkpoint"),
        (file.args.get("model"), "the checkpoint"),
        (checkpoint.path.name.rpartition(".")[0], "the file name"),
    )
    for claim, source in claims:
        if not isinstance(claim, str) or not claim:
            continue
        name = claim.partition(".")[0]
        ours = timm.models.is_model_in_modules(name, ["efficientnet"])
        # A file can be called anything; whoever else names a model means that one, whatever it is.
        if ours if source == "--variant" else timm.is_model(name) and source != "the file name":
            return claim, source
        match = _NAME.search(claim)
        whole = re.split(r"[-.]", claim)[0]
        # A name that goes on after the size: tf_efficientnet_cc_b0_4e-4362b6b2.pth.
        longer = "efficientnet" in whole and (match is None or match[0].partition(".")[0] != whole)
        if longer and whole in timm.list_models(whole, module="efficientnet"):
            return whole, source
        if match is not None:
            return match[0], source
        if source == "--variant":
            raise OptionError(
                f"--variant {claim} is not an EfficientNet of timm.",
                hint="Write it as timm does: efficientnet_b0, tf_efficientnet_b0, tf_efficientnetv2_s.in21k.",
            )
    return "", ""


def _assumed(told: _NamedModel, plan: EfficientNetPlan, name: str) -> tuple[str, ...]:
    if not told.name and told.model is None:
        return (_guess(plan, name),)
    if not told.other:
        return ()
    return (
        f"The weights are not those of timm's {told.architecture}, named by {told.source} "
        f"({first_of(told.other)}); what they do not show is as in timm's plain ones: {_unshown(plan)}.",
    )


def _confirm(told: _NamedModel, net: nn.Module) -> None:
    """Compare the built network with timm's own model.

    Raises:
        CheckpointError: they differ in something that can change an answer.
    """
    refuse_differences(
        compare(told.model, net),
        f"{told.architecture}, named by {told.source}",
        "What the file says there is not supported.",
    )


def _witness(
    told: _NamedModel,
    file: TimmFile,
    tensors: Mapping[str, torch.Tensor],
    hints: Hints,
    size: Size,
    *,
    features: bool,
) -> Witness | str:
    if told.model is None:
        return UNNAMED
    return not_asked(told.architecture, told.source, told.other) or timm_witness(
        told.architecture, told.arguments, tensors, size, file=file, hints=hints, features=features
    )


def _name(plan: EfficientNetPlan, *, tensorflow: bool) -> str:
    compound = compound_name(plan)
    if not compound:
        return ""
    experts = max(block.experts for stage in plan.stages for block in stage)
    compound = f"cc_{compound}_{experts}e" if experts else compound
    return f"{'tf_' if tensorflow else ''}efficientnet{'' if compound.startswith('v2') else '_'}{compound}"


def _guess(plan: EfficientNetPlan, name: str) -> str:
    timm = require("timm", extra="export", purpose="know the names of its EfficientNets")
    assumed = f"Not in the file, and assumed: {_unshown(plan)}."
    if name and timm.is_model(f"tf_{name}"):
        return (
            f"{assumed} This is timm's own {name}; the TensorFlow-born tf_{name} has the same keys and "
            f"shapes: --variant tf_{name} says so."
        )
    return f"{assumed} Name the architecture as timm does: --variant NAME."


def _unshown(plan: EfficientNetPlan) -> str:
    """Properties that the weights do not show, as assumed."""
    padding = "TensorFlow's padding" if plan.padding == "same" else "symmetric padding"
    return f"{padding}, BatchNorm eps {plan.eps:g}, activation {plan.activation}, no blur before the strides"


def _config(name: str, file_name: str) -> dict[str, Any]:
    """timm's settings for the released file of this name, otherwise for the model of this name."""
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
