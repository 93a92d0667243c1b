"""What the EfficientNet dialects share: reading the structure from translated weights, and its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from deploykit_runtimes.contract.spec import Activation as Scores
from deploykit_runtimes.contract.spec import Preprocess
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.efficientnet.network import (
    Activation,
    BlockKind,
    BlockPlan,
    EfficientNetPlan,
    Padding,
)
from deploykit_exporters.families.settings import Setting

if TYPE_CHECKING:
    import torch
    from torch import nn

    from deploykit_exporters.families.base import Witness

__all__ = ["STRIDES", "EfficientNetSource", "generation", "is_fused", "read_plan", "split_stages", "with_eps"]

Generation = Literal["v1", "v2", "edge"]
Shapes = Mapping[str, tuple[int, ...]]

# Resolution halves at the first block of these stages.
STRIDES = (1, 2, 2, 2, 1, 2, 1)
_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")
_SPATIAL = ("conv_dw", "conv_exp", "conv")
# Kernel of each stage, and how many stages begin with full instead of depthwise convolutions.
_PATTERNS: dict[tuple[int, ...], tuple[Generation, int]] = {
    (3, 3, 5, 3, 5, 5, 3): ("v1", 0),
    (3, 3, 3, 3, 3, 3): ("v2", 3),
    (3, 3, 3, 3, 3, 3, 3): ("v2", 3),
    (3, 3, 3, 5, 5, 5): ("edge", 3),
}


@dataclass(frozen=True, kw_only=True)
class EfficientNetSource:
    """A checkpoint in its dialect, translated.

    Attributes:
        tensors: Weights under the keys of ``nets.efficientnet``.
        names: The file's key for each of those keys.
        plan: The structure to build.
        variant: Name in the origin's own terms, empty if none matches.
        image_size: (height, width) the network was trained or is evaluated at.
        preprocess: Pre-processing for an input of (height, width).
        preprocess_from: Where the pre-processing was found; empty if it is the origin's default.
        classes: Class names in the file.
        sigmoid: The file says that its classes are scored independently.
        scores: How logits become scores, if the file says so completely.
        assumed: What the file does not say and was assumed, in sentences.
        settings: What became of the settings and unused tensors of the file.
        witness: Builds the origin's own model for a network input of (height, width) and ``features=``; see
            ``BuiltModel.witness``.
        confirm: Compares the network that is built with what the file says it is; raises if they differ.
    """

    tensors: Mapping[str, torch.Tensor]
    names: Mapping[str, str]
    plan: EfficientNetPlan
    variant: str
    image_size: Size
    preprocess: Callable[[Size], Preprocess]
    preprocess_from: str
    classes: tuple[str, ...] = ()
    sigmoid: bool = False
    scores: Scores | None = None
    assumed: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    witness: Callable[..., Witness | str] | None = None
    confirm: Callable[[nn.Module], None] | None = None


def read_plan(
    tensors: Mapping[str, torch.Tensor],
    *,
    padding: Padding,
    eps: float,
    strides: tuple[int, ...] = STRIDES,
    activation: Activation | None = None,
) -> EfficientNetPlan:
    """Read the structure from the shapes of translated weights.

    Args:
        tensors: Weights under the keys of ``nets.efficientnet``.
        padding, eps: Settings that the shapes do not show.
        strides: Strides of the first block of each stage.
        activation: If the origin gives it; otherwise SiLU with squeeze-and-excitation, and without it
            ReLU for EdgeTPU and ReLU6 for Lite.

    Raises:
        CheckpointError: the weights do not form an EfficientNet.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    kind = generation(tensors)
    if kind is None:
        raise CheckpointError(
            f"The stages of an EfficientNet have the kernels {_listed_patterns()}, "
            f"found {_row(_kernels(shapes))}.",
            hint="Part of the weights is missing, or the network is another one with the same key names.",
        )
    width, channels = _shape(shapes, "conv_stem.weight")[:2]
    stages, inputs = [], width
    for index, count in enumerate(_depths(shapes)):
        blocks = []
        for position in range(count):
            block = _read_block(
                shapes,
                f"blocks.{index}.{position}.",
                inputs,
                stride=strides[index] if position == 0 and index < len(strides) else 1,
                # The first stage of EdgeTPU has no residual connections, even where they would fit.
                plain=kind == "edge" and index == 0,
            )
            blocks.append(block)
            inputs = block.outputs
        stages.append(tuple(blocks))
    return EfficientNetPlan(
        stages=tuple(stages),
        stem=width,
        head=_head(shapes),
        classes=next((shapes[key][0] for key in _CLASSIFIER if shapes.get(key)), 0),
        padding=padding,
        activation=activation or _activation(kind, stages),
        eps=eps,
        channels=channels,
    )


def with_eps(source: EfficientNetSource, config: Mapping[str, Any], *, told: bool) -> EfficientNetSource:
    """The same source with the user's eps for the norms, or the origin's usual one as an assumption.

    Args:
        source: What the file says.
        config: Settings of ``--config``.
        told: The file gives the eps, because the module was pickled.

    Raises:
        OptionError: the user's eps is not a positive number.
    """
    eps = config.get("eps")
    if eps is None:
        said = f"Not in the file, and assumed: BatchNorm eps {source.plan.eps:g}; override as in --config "
        example = json.dumps({"eps": 1e-3 if source.plan.eps < 1e-3 else 1e-5})
        return source if told else replace(source, assumed=(*source.assumed, f"{said}'{example}'."))
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < 1:
        raise OptionError(f"--config says eps = {eps!r}; wanted a number between 0 and 1.")
    return replace(source, plan=replace(source.plan, eps=float(eps)))


_CLASSIFIER = ("classifier.weight", "classifier.bias")


def generation(tensors: Mapping[str, torch.Tensor]) -> Generation | None:
    """The EfficientNet generation of translated weights by stages and kernels, or None.

    Other mobile networks (MobileNetV2, MNASNet, FBNet, ...) share timm's key names and differ in
    these. A missing convolution counts as fitting, so that a later error can name it.
    """
    found = _kernels({key: tuple(tensor.shape) for key, tensor in tensors.items()})
    for pattern, (name, full) in _PATTERNS.items():
        if len(found) == len(pattern) and all(
            at is None or at == (kernel, index < full)
            for index, (at, kernel) in enumerate(zip(found, pattern, strict=True))
        ):
            return name
    return None


def is_fused(plan: EfficientNetPlan) -> bool:
    """Whether the network begins with full convolutions: EfficientNetV2 and EdgeTPU."""
    return plan.stages[0][0].kind in {"edge", "plain"}


def _kernels(shapes: Shapes) -> list[tuple[int, bool] | None]:
    """The kernel of each stage's first block, and whether it belongs to a full convolution."""
    stages = {int(match[1]) for key in shapes if (match := _BLOCK.match(key))}
    if stages != set(range(len(stages))):
        return []
    return [_kernel(shapes, f"blocks.{stage}.0.") for stage in range(len(stages))]


def _kernel(shapes: Shapes, block: str) -> tuple[int, bool] | None:
    for layer in _SPATIAL:
        shape = shapes.get(f"{block}{layer}.weight", ())
        if len(shape) == 4:
            return shape[-1], layer != "conv_dw"
    return None


def _depths(shapes: Shapes) -> list[int]:
    found = {(int(match[1]), int(match[2])) for key in shapes if (match := _BLOCK.match(key))}
    stages = 1 + max(stage for stage, _ in found)
    depths = [sum(stage == index for stage, _ in found) for index in range(stages)]
    if found != {(stage, block) for stage, depth in enumerate(depths) for block in range(depth)}:
        raise CheckpointError(
            f"The blocks of an EfficientNet are numbered without gaps, found {len(found)} blocks in "
            f"{stages} stages with gaps.",
            hint="Part of the weights is missing: export from the file that the training wrote.",
        )
    return depths


def _read_block(shapes: Shapes, prefix: str, inputs: int, *, stride: int, plain: bool) -> BlockPlan:
    kind, spatial, last = _layers(shapes, prefix)
    middle, group, _, kernel = _shape(shapes, f"{prefix}{spatial}.weight")
    experts = next(iter(shapes.get(f"{prefix}routing_fn.weight", ())), 0)
    if experts:
        middle //= experts
        outputs = next(iter(shapes.get(f"{prefix}bn3.weight", ())), 0)
    else:
        outputs = _shape(shapes, f"{prefix}{last}.weight")[0]
    return BlockPlan(
        kind=kind,
        inputs=inputs,
        middle=middle,
        outputs=outputs,
        reduced=next(iter(shapes.get(f"{prefix}se.conv_reduce.weight", ())), 0),
        kernel=kernel,
        stride=stride,
        residual=stride == 1 and inputs == outputs and not plain,
        group=group if spatial == "conv_dw" else 1,
        experts=experts,
    )


def _layers(shapes: Shapes, prefix: str) -> tuple[BlockKind, str, str]:
    """The kind of a block, and the names of its spatial and last convolutions."""
    if f"{prefix}conv.weight" in shapes:
        return "plain", "conv", "conv"
    if f"{prefix}routing_fn.weight" in shapes:
        return "conditional", "conv_dw", "conv_pwl"
    if f"{prefix}conv_exp.weight" in shapes:
        return "edge", "conv_exp", "conv_pwl"
    if f"{prefix}conv_pwl.weight" in shapes:
        return "inverted", "conv_dw", "conv_pwl"
    return "separable", "conv_dw", "conv_pw"


def _shape(shapes: Shapes, key: str) -> tuple[int, ...]:
    shape = shapes.get(key)
    if shape is None or len(shape) != 4 or 0 in shape:
        raise CheckpointError(
            f"An EfficientNet has a convolution {key}, found {'none' if shape is None else shape}.",
            hint="Part of the weights is missing: export from the file that the training wrote.",
        )
    return shape


def _head(shapes: Shapes) -> int:
    """Channels of the last convolution; 0 without a head."""
    if "conv_head.weight" in shapes:
        return _shape(shapes, "conv_head.weight")[0]
    # It is missing from a classifier then, which the loading of the weights will say.
    return next(iter(shapes.get("classifier.weight", ())[1:]), 0)


def _activation(kind: Generation, stages: list[tuple[BlockPlan, ...]]) -> Activation:
    if any(block.reduced for stage in stages for block in stage):
        return "silu"
    return "relu6" if kind == "v1" else "relu"


def _listed_patterns() -> str:
    return ", ".join("-".join(map(str, pattern)) for pattern in _PATTERNS)


def _row(kernels: list[tuple[int, bool] | None]) -> str:
    return "-".join("?" if at is None else str(at[0]) for at in kernels) or "none"


def split_stages(blocks: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Split the blocks of a network that numbers them consecutively into stages.

    A stage starts where the description of a block changes: output channels, kernel, whether it expands.

    Args:
        blocks: A description of each block.

    Returns:
        (stage, position) of each block.
    """
    numbered: list[tuple[int, int]] = []
    stage, position = 0, 0
    for index, block in enumerate(blocks):
        if index and block != blocks[index - 1]:
            stage, position = stage + 1, 0
        numbered.append((stage, position))
        position += 1
    return numbered
