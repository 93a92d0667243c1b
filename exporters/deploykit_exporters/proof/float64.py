"""Telling a wrong file from inputs on which float32 cannot decide.

A trained network can be chaotic on noise: what it has never seen grows from layer to layer, and two float32
implementations of the same sums, both right, end up 1e-3 of the scale apart. The checkpoint in float64 is the
arbiter there. How far float32 itself is from it says what may be asked of a float32 file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
import torch
from torch import nn

__all__ = ["LOOSEST", "MULTIPLE", "Float64Reference", "Outputs"]

Outputs = Mapping[str, np.ndarray]

MULTIPLE = 4.0
"""How many times as far from float64 as torch's float32 a file may be. Over 120 batches of noise and three
trained EfficientNets, right files were at most 3.0 times as far (median 0.5)."""

LOOSEST = 1e-2
"""No tolerance is looser than this share of the scale; where float32 needs one, the input is not used."""

_NUDGED = 4
"""Evaluations of inputs that are one unit in the last place away: as many samples of float32's rounding."""


class Float64Reference:
    """The checkpoint's module in float64, and float32's own spread around it.

    Args:
        module: ``forward(images[N, C, H, W])`` returns a tensor or several; float32, eval mode.
        names: The names of its outputs.
    """

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        self._module, self._names = module, names

    @cached_property
    def _double(self) -> nn.Module:
        return copy.deepcopy(self._module).double()

    def exact(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of float32 images [N, C, H, W], computed in float64."""
        return self._run(self._double, torch.from_numpy(images).double())

    def float32(self, images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """The outputs as several float32 evaluations give them, all of which are right."""
        tensor = torch.from_numpy(images)
        yield self._run(self._module, tensor)
        yield self._run(self._module, tensor.contiguous(memory_format=torch.channels_last))
        generator = np.random.default_rng(0)
        for _ in range(_NUDGED):
            towards = np.where(generator.random(images.shape) < 0.5, -np.inf, np.inf).astype(np.float32)
            yield self._run(self._module, torch.from_numpy(np.nextafter(images, towards)))

    def _run(self, module: nn.Module, images: torch.Tensor) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            found = module(images)
        tensors = (found,) if isinstance(found, torch.Tensor) else tuple(found)
        return {name: tensor.cpu().numpy() for name, tensor in zip(self._names, tensors, strict=True)}
