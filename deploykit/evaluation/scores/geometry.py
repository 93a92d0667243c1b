"""How Ultralytics' ``val`` places a picture in the tensor; ``predict`` differs from it by a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.pixels.geometry import Geometry

__all__ = ["Plan", "rectangles", "val_geometry", "val_plan"]

Size = tuple[int, int]
Plan = Callable[[Size], Geometry]


def val_plan(spec: ModelSpec) -> Plan | None:
    """The letterbox of ``val`` at the model's own size; None if the model takes no letterbox.

    The picture is scaled until its longer side is that of the tensor, the shorter one rounded up (``predict``
    rounds it to the nearest), and padded evenly to the full size, even if the model takes smaller ones.
    """
    how = spec.preprocess
    if how.included or how.resize != "letterbox" or how.anchor != "center" or not how.scale_up:
        return None
    target = (spec.tensor.height, spec.tensor.width)
    return lambda size: val_geometry(size, target)


def val_geometry(size: Size, target: Size, side: int | None = None) -> Geometry:
    """Where the pixels of a picture go.

    Args:
        size: Height and width of the picture.
        target: Those of the tensor.
        side: The longer side of the scaled picture; None: that of the tensor.
    """
    side = side or max(target)
    ratio = side / max(size)
    height, width = (min(math.ceil(length * ratio), side) for length in size)
    again = min(target[0] / height, target[1] / width, 1.0)
    resized = max(1, round(height * again)), max(1, round(width * again))
    offset = tuple(round((whole - part) / 2 - 0.1) for whole, part in zip(target, resized, strict=True))
    return Geometry(
        image_size=size,
        input_size=target,
        region=(0, 0, *size),
        resized=resized,
        offset=(offset[0], offset[1]),
    )


def rectangles(sizes: list[Size], side: int, *, stride: int = 32, batch: int = 16) -> list[Size]:
    """The tensor size of each picture in ``val``'s rectangular batches, its default for PyTorch and dynamic
    models.

    Pictures are sorted by their aspect ratio; those of a batch share the smallest shape that holds them all,
    rounded up to the stride after adding half of it.

    Args:
        sizes: Height and width of each picture.
        side: The longer side of the tensor.
        stride: Of the model.
        batch: Pictures that share a shape.
    """
    ratios = [height / width for height, width in sizes]
    order = sorted(range(len(sizes)), key=lambda place: ratios[place])
    shapes: list[Size] = [(side, side)] * len(sizes)
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        low, high = ratios[group[0]], ratios[group[-1]]
        height, width = (high, 1.0) if high < 1 else (1.0, 1 / low) if low > 1 else (1.0, 1.0)
        shape = tuple(math.ceil(share * side / stride + 0.5) * stride for share in (height, width))
        for place in group:
            shapes[place] = shape[0], shape[1]
    return shapes
