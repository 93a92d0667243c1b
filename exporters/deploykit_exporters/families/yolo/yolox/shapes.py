"""The architecture of a YOLOX state dict, from its keys and shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from deploykit_runtimes.errors import CheckpointError
from torch import Tensor, nn

from deploykit_exporters.families.yolo.yolox.backbones import DarknetFPN, DarknetPAFPN
from deploykit_exporters.families.yolo.yolox.blocks import Style
from deploykit_exporters.families.yolo.yolox.network import YOLOX, YOLOXHead

__all__ = ["Architecture", "is_yolox", "read_architecture"]

_CSP_STEM = "backbone.backbone.stem.conv.conv.weight"
_DARKNET_STEM = "backbone.backbone.stem.0.conv.weight"
_HEAD_STEM = "head.stems.0.conv.weight"
_CLASSES = "head.cls_preds.0.weight"
# Stem channels (64 times the width) and bottlenecks of the first stage (3 times the depth).
_SIZES = {(24, 1): "tiny", (32, 1): "s", (48, 2): "m", (64, 3): "l", (80, 4): "x"}
_NANO = (16, 1)
_DARKNET_CHANNELS = (128, 256, 512)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The hyper-parameters of one model.

    Attributes:
        base: Channels of the stem; None for the Darknet-53 baseline, which has one size.
        depth: Bottlenecks of the backbone's first stage.
        neck_depth: Bottlenecks of each block of the neck.
        depthwise: Whether 3 x 3 convolutions are separable.
        hidden: Channels of the head's branches.
        num_classes: Number of classes.
    """

    base: int | None
    depth: int
    neck_depth: int
    depthwise: bool
    hidden: int
    num_classes: int

    @property
    def variant(self) -> str:
        """The name of the experiment, or width and depth if none has them."""
        if self.base is None:
            return "yolox_darknet53"
        if self.depthwise and (self.base, self.depth) == _NANO:
            return "yolox_nano"
        size = _SIZES.get((self.base, self.depth))
        if size is not None and not self.depthwise:
            return f"yolox_{size}"
        return f"yolox_w{self.base}_d{self.depth}" + ("_depthwise" if self.depthwise else "")

    @property
    def summary(self) -> str:
        """What the shapes show, in a sentence."""
        if self.base is None:
            return f"Darknet-53 with a feature pyramid, {self.num_classes} classes"
        kind = "separable CSPDarknet" if self.depthwise else "CSPDarknet"
        size = f"width {self.base / 64:g} and depth {self.depth / 3:.3g}"
        return f"{kind} of {size}, {self.num_classes} classes"

    def build(self, act: Callable[[], nn.Module]) -> YOLOX:
        """The network with empty weights."""
        style = Style(act=act, depthwise=self.depthwise)
        if self.base is None:
            head = YOLOXHead(_DARKNET_CHANNELS, self.hidden, self.num_classes, style)
            return YOLOX(DarknetFPN(style), head)
        channels = (4 * self.base, 8 * self.base, 16 * self.base)
        neck = DarknetPAFPN(self.base, self.depth, self.neck_depth, style)
        return YOLOX(neck, YOLOXHead(channels, self.hidden, self.num_classes, style))

    def allocate(self, act: Callable[[], nn.Module], tensors: Mapping[str, Tensor]) -> YOLOX:
        """The network with memory for weights of roughly the amount in the file.

        Raises:
            CheckpointError: the network would be far larger than the file: one layer claims a width that
                the others do not have.
        """
        with torch.device("meta"):
            net = self.build(act)
        wanted = sum(parameter.numel() for parameter in net.parameters())
        found = sum(tensor.numel() for tensor in tensors.values())
        if wanted > 2 * found:
            raise CheckpointError(
                f"A {self.variant} has {wanted} weights, found {found}.",
                hint="The checkpoint is incomplete, or not a YOLOX.",
            )
        net.to_empty(device="cpu")
        return net


def is_yolox(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of a YOLOX backbone and its decoupled head."""
    stem = _CSP_STEM in tensors or _DARKNET_STEM in tensors
    return stem and _HEAD_STEM in tensors and _CLASSES in tensors and "head.obj_preds.0.weight" in tensors


def read_architecture(tensors: Mapping[str, Tensor]) -> Architecture:
    """The architecture of weights for which ``is_yolox`` holds."""
    stem = tensors.get(_CSP_STEM)
    return Architecture(
        base=None if stem is None else stem.shape[0],
        depth=_count(tensors, "backbone.backbone.dark2.1.m."),
        neck_depth=_count(tensors, "backbone.C3_p4.m."),
        depthwise="head.cls_convs.0.0.dconv.conv.weight" in tensors,
        hidden=tensors[_HEAD_STEM].shape[0],
        num_classes=tensors[_CLASSES].shape[0],
    )


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Number of blocks in a sequence."""
    return len({key[len(prefix) :].partition(".")[0] for key in tensors if key.startswith(prefix)})
