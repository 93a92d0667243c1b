"""A picture in which a detector finds objects, where photos show none of its own.

A file that holds its post-processing returns what is above its threshold and nothing else: on a photo without
the objects that a model was trained for, any engine would be right. Here the scores of boxes all over the
picture are raised by gradient ascent on its pixels (I. Goodfellow et al., Explaining and Harnessing
Adversarial Examples, ICLR 2015, iterated with momentum). The result shows people nothing, and the network
its objects.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec
from torch import nn

__all__ = ["LEVELS", "crafted_picture", "levels_of"]

LEVELS = 3
"""Grids of a detector, of strides 8, 16 and 32 as almost all have them."""

_SIDE = 112
"""Longer side of the picture, which is stored in the file."""
_STEPS, _STEP = 30, 6.0
"""Most steps, and by how much each moves a pixel, of 255."""
_MOMENTUM = 0.8
_BOXES = 24
"""Boxes whose scores are raised."""
_ENOUGH = 12
_LONGER = 8
"""Steps more, where these are not of every grid: on small data, the coarsest one may never find anything."""


def crafted_picture(module: nn.Module, core: ModelSpec, start: np.ndarray, conf: float) -> np.ndarray | None:
    """A small picture of which a detector says that it shows objects.

    Args:
        module: The network; ``forward(images[N, C, H, W])``, float32, eval mode.
        core: Its contract.
        start: A photo, uint8 [h, w, 3].
        conf: The score that they are to be above.

    Returns:
        uint8 [h, w, C]; None where the network has no gradient, or scores do not rise.
    """
    _leave_inference_mode(module)
    size = core.input.height, core.input.width
    ratio = _SIDE / max(size)
    small = tuple(max(8, round(side * ratio)) for side in size)
    pixels = torch.from_numpy(start.astype(np.float32)).permute(2, 0, 1)[None]
    pixels = nn.functional.interpolate(pixels, small, mode="bilinear", antialias=True)
    pixels = pixels[:, torch.arange(core.input.channels) % 3].contiguous()
    velocity = torch.zeros_like(pixels)
    wanted = min(0.95, conf + 0.3 * (1 - conf))
    chosen: torch.Tensor | None = None
    enough = 0
    for _ in range(_STEPS):
        pixels.requires_grad_(True)
        with torch.enable_grad():
            scores = _scores(module, core, nn.functional.interpolate(pixels, size, mode="bilinear"))
            if not scores.requires_grad:
                return None
            if chosen is None:
                chosen = _spread(scores.shape[0])
            raised = scores[chosen]
            (gradient,) = torch.autograd.grad(torch.log(raised + 1e-6).sum(), pixels)
        certain = raised > wanted
        enough += int(certain.sum()) >= _ENOUGH
        if enough > _LONGER or (enough and len(_levels(chosen[certain], len(scores))) == LEVELS):
            break
        velocity = _MOMENTUM * velocity + gradient / gradient.abs().mean().clamp_min(1e-12)
        pixels = (pixels.detach() + _STEP * velocity.sign()).clamp(0, 255)
    found = pixels.detach()[0].permute(1, 2, 0).round().to(torch.uint8).numpy()
    return np.ascontiguousarray(found)


def _leave_inference_mode(module: nn.Module) -> None:
    """Tensors that a module made and kept in inference mode, such as anchors, know no gradient."""
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor) and value.is_inference():
                setattr(part, name, value.clone())


def _scores(module: nn.Module, core: ModelSpec, pixels: torch.Tensor) -> torch.Tensor:
    """The best class score of each box of the first image, [A]."""
    how = core.preprocess
    mean = torch.tensor(np.resize(how.mean, core.input.channels), dtype=torch.float32).reshape(-1, 1, 1)
    std = torch.tensor(np.resize(how.std, core.input.channels), dtype=torch.float32).reshape(-1, 1, 1)
    ordered = pixels.flip(1) if how.color == "bgr" else pixels
    images = (ordered * how.scale - mean) / std
    found = module(images.expand(core.input.batch, -1, -1, -1))
    return _best((found if isinstance(found, torch.Tensor) else found[0])[0], core)


def levels_of(heads: torch.Tensor, core: ModelSpec, conf: float) -> set[int]:
    """The grids of a detector on which some box scores above ``conf``; all of them where any does and its
    output does not tell them apart.

    Args:
        heads: The first output of the network, for a batch.
        core: Its contract.
        conf: The score.
    """
    found: set[int] = set()
    for head in heads:
        scores = _best(head, core)
        above = torch.nonzero(scores > conf)[:, 0]
        if core.output.layout == "end2end" and len(above):
            return set(range(LEVELS))
        found |= _levels(above, len(scores))
    return found


def _bounds(count: int) -> tuple[float, float]:
    """Where the second and the third grid begin: each has a quarter of the cells of the one before it."""
    return count * 16 / 21, count * 20 / 21


def _levels(boxes: torch.Tensor, count: int) -> set[int]:
    """The grids of boxes by their places."""
    bounds = torch.tensor(_bounds(count))
    return set(torch.bucketize(boxes.float(), bounds, right=True).tolist())


def _best(head: torch.Tensor, core: ModelSpec) -> torch.Tensor:
    if core.output.layout == "end2end":
        return head[:, 4]
    classes = core.num_classes
    if core.output.layout == "yolov5":
        return head[:, 4] * head[:, 5 : 5 + classes].amax(1)
    return head[4 : 4 + classes].amax(0)


def _spread(count: int) -> torch.Tensor:
    """Boxes from all over the picture, of each grid as many."""
    bounds = (0, *_bounds(count), count)
    parts = [
        torch.linspace(math.ceil(low), math.ceil(high) - 1, _BOXES // LEVELS)
        for low, high in itertools.pairwise(bounds)
    ]
    chosen: torch.Tensor = torch.unique(torch.cat(parts).long())
    return chosen
