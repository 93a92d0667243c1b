"""From a pickled YOLOv5 module, read as an inert tree, to our network with the same parts.

The tree is authoritative for a checkpoint: forks and older releases save other kernels, strides
or activations under the same class names. Shapes are taken from the weights, everything else from
the attributes of each part, and a part with unknown sub-modules is refused rather than guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from deploykit_runtimes.errors import CheckpointError
from torch import nn

from deploykit_exporters.containers.pickles.inert import children, class_path
from deploykit_exporters.families.yolo.yolov5 import blocks
from deploykit_exporters.families.yolo.yolov5 import network as yolov5
from deploykit_exporters.families.yolo.yolov5.leaves import LEAVES, attribute, integers, tensor

__all__ = ["build_network", "class_name"]


def class_name(node: object) -> str:
    """``Conv`` for a node of the class ``models.common.Conv``."""
    return class_path(node).rpartition(".")[2]


def build_network(root: object) -> yolov5.YoloV5:
    """The layers that a layer reads, as absolute indices; -1 is the image.

    Args:
        root: The inert tree of the whole model, whose child ``model`` holds the layers.

    Raises:
        CheckpointError: a part is unknown or lacks what its class has; it is named.
    """
    layers, sources = [], []
    for index, node in enumerate(children(children(root).get("model")).values()):
        layers.append(_part(node, f"model.{index}"))
        sources.append(_source(node, index))
    if not layers:
        raise CheckpointError(f"The pickled {class_path(root)} holds no layers under `model`.")
    return yolov5.YoloV5(layers, sources)


def _source(node: Any, index: int) -> int | tuple[int, ...]:
    """A block that consists of its sub-modules and plain attributes, all by name."""

    def absolute(source: object) -> int:
        earliest = -index if index else -1
        if not isinstance(source, int) or not earliest <= source < index:
            raise CheckpointError(f"Layer model.{index} reads from {source!r}, wanted an earlier layer.")
        return source if source >= 0 or index == 0 else index + source

    source = getattr(node, "f", None)
    return tuple(map(absolute, source)) if isinstance(source, list | tuple) else absolute(source)


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """A block that is made of its sub-modules and plain attributes, all by name.

    Attributes:
        make: The block of ours.
        parts: Sub-modules that it must hold.
        optional: Sub-modules that it may hold.
        ignored: Sub-modules that do nothing in eval mode.
        flags: Attributes with their types.
    """

    make: Callable[..., nn.Module]
    parts: tuple[str, ...]
    optional: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    flags: Mapping[str, type] = field(default_factory=dict)


_MAX_DEPTH = 32

_CONV = _Recipe(make=blocks.Conv, parts=("conv", "act"), optional=("bn",))
_C3 = _Recipe(make=blocks.C3, parts=("cv1", "cv2", "cv3", "m"))
_BOTTLENECK = _Recipe(make=blocks.Bottleneck, parts=("cv1", "cv2"), flags={"add": bool})

_RECIPES: dict[str, _Recipe] = {
    "Conv": _CONV,
    "DWConv": _CONV,
    "Focus": _Recipe(make=blocks.Focus, parts=("conv",)),
    "Bottleneck": _BOTTLENECK,
    "CrossConv": _BOTTLENECK,
    "BottleneckCSP": _Recipe(make=blocks.BottleneckCSP, parts=("cv1", "cv2", "cv3", "cv4", "bn", "act", "m")),
    "C3": _C3,
    "C3x": _C3,
    "C3TR": _C3,
    "C3SPP": _C3,
    "C3Ghost": _C3,
    "GhostConv": _Recipe(make=blocks.GhostConv, parts=("cv1", "cv2")),
    "GhostBottleneck": _Recipe(make=blocks.GhostBottleneck, parts=("conv", "shortcut")),
    "TransformerBlock": _Recipe(make=blocks.TransformerBlock, parts=("linear", "tr"), optional=("conv",)),
    "TransformerLayer": _Recipe(make=blocks.TransformerLayer, parts=("q", "k", "v", "ma", "fc1", "fc2")),
    "Concat": _Recipe(make=blocks.Concat, parts=(), flags={"d": int}),
    "Proto": _Recipe(make=blocks.Proto, parts=("cv1", "upsample", "cv2", "cv3")),
    "Classify": _Recipe(make=blocks.Classify, parts=("conv", "pool", "linear"), ignored=("drop",)),
}


def _part(node: Any, where: str) -> nn.Module:
    if where.count(".") > _MAX_DEPTH:
        raise CheckpointError(f"The modules of {where[:40]}... are nested deeper than those of any YOLOv5.")
    name = class_name(node)
    if name in _RECIPES:
        return _block(_RECIPES[name], node, where)
    if name in _SPECIAL:
        return _SPECIAL[name](node, where)
    if name in LEAVES:
        return LEAVES[name](node, where)
    raise CheckpointError(
        f"Layer {where} is a {class_path(node)}, which is not a module of YOLOv5 that deploykit knows.",
        hint="Checkpoints of forks with their own modules need the fork's own export.",
    )


def _block(recipe: _Recipe, node: Any, where: str) -> nn.Module:
    found = children(node)
    missing = [name for name in recipe.parts if name not in found]
    unknown = found.keys() - {*recipe.parts, *recipe.optional, *recipe.ignored}
    if missing or unknown:
        raise CheckpointError(
            f"{where} is a {class_path(node)}, which holds {', '.join(recipe.parts) or 'no modules'} in "
            f"YOLOv5; found {', '.join(found) or 'none'}.",
            hint="The checkpoint comes from a fork that changed this module.",
        )
    parts = {
        name: _part(found[name], f"{where}.{name}")
        for name in (*recipe.parts, *recipe.optional)
        if name in found
    }
    flags: dict[str, Any] = {name: attribute(node, where, name, kind) for name, kind in recipe.flags.items()}
    return recipe.make(**parts, **flags)


def _sequential(node: Any, where: str) -> nn.Module:
    return nn.Sequential(*_list(node, where))


def _module_list(node: Any, where: str) -> nn.Module:
    return nn.ModuleList(_list(node, where))


def _list(node: Any, where: str) -> list[nn.Module]:
    return [_part(child, f"{where}.{name}") for name, child in children(node).items()]


def _spp(node: Any, where: str) -> nn.Module:
    pools = children(_child(node, where, "m")).values()
    windows = tuple(_window(pool, f"{where}.m") for pool in pools)
    if not windows or any(a >= b for a, b in pairwise(windows)):
        raise CheckpointError(f"{where} pools with the windows {windows}, wanted a growing series.")
    cv1, cv2 = _pair(node, where)
    return blocks.SPP(cv1=cv1, cv2=cv2, windows=windows)


def _sppf(node: Any, where: str) -> nn.Module:
    cv1, cv2 = _pair(node, where)
    return blocks.SPPF(cv1=cv1, cv2=cv2, window=_window(_child(node, where, "m"), f"{where}.m"))


def _pair(node: Any, where: str) -> tuple[nn.Module, nn.Module]:
    cv1, cv2 = (_part(_child(node, where, name), f"{where}.{name}") for name in ("cv1", "cv2"))
    return cv1, cv2


def _window(pool: Any, where: str) -> int:
    """The window of a pooling that keeps the size of its input."""
    side, other = integers(pool, where, "kernel_size", 2)
    strides, padding = integers(pool, where, "stride", 2), integers(pool, where, "padding", 2)
    if side != other or side % 2 == 0 or strides != (1, 1) or padding != (side // 2, side // 2):
        raise CheckpointError(
            f"{where} pools {side} x {other} with stride {strides} and padding {padding}; wanted an odd "
            f"square window that keeps the size."
        )
    return side


def _child(node: Any, where: str, name: str) -> Any:
    found = children(node)
    if name not in found:
        raise CheckpointError(f"{where} is a {class_path(node)} without {name}; found {', '.join(found)}.")
    return found[name]


def _detect(node: Any, where: str) -> nn.Module:
    grid = getattr(node, "_buffers", {}).get("anchor_grid")
    return yolov5.Detect(**_anchor_head(node, where, masks=0), anchor_grid=grid)


def _segment(node: Any, where: str) -> nn.Module:
    proto = _part(_child(node, where, "proto"), f"{where}.proto")
    masks = attribute(node, where, "nm", int)
    return yolov5.Segment(**_anchor_head(node, where, masks=masks), proto=proto)


def _anchor_head(node: Any, where: str, *, masks: int) -> dict[str, Any]:
    """The arguments of an anchor head, checked against each other."""
    anchors = tensor(node, where, "anchors")
    strides = tensor(node, where, "stride").float().flatten().tolist()
    classes = attribute(node, where, "nc", int)
    convolutions = _part(_child(node, where, "m"), f"{where}.m")
    outputs = [conv.out_channels if isinstance(conv, nn.Conv2d) else 0 for conv in convolutions.children()]
    maps = len(outputs)
    if not all(isinstance(s, float) and s.is_integer() and s >= 1 for s in strides):
        raise CheckpointError(f"{where} has the strides {strides}, wanted whole numbers of pixels.")
    if anchors.ndim != 3 or not anchors.shape[0] == maps == len(strides) > 0 or anchors.shape[2] != 2:
        raise CheckpointError(
            f"{where} has {maps} output maps, anchors {list(anchors.shape)} and {len(strides)} strides; "
            "wanted anchors [maps, anchors, 2] and a stride for each map."
        )
    wanted = anchors.shape[1] * (5 + classes + masks)
    if any(channels != wanted for channels in outputs):
        raise CheckpointError(
            f"{where} has {outputs} output channels; {anchors.shape[1]} anchors with {classes} classes"
            f"{f' and {masks} mask coefficients' if masks else ''} want {wanted}."
        )
    return {
        "m": convolutions,
        "anchors": anchors,
        "strides": strides,
        "num_classes": classes,
        "masks": masks,
    }


_SPECIAL: dict[str, Callable[[Any, str], nn.Module]] = {
    "Sequential": _sequential,
    "ModuleList": _module_list,
    "SPP": _spp,
    "SPPF": _sppf,
    "Detect": _detect,
    "Segment": _segment,
}
