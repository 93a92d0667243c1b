"""A model's pre-processing inside its graph: raw pixels in, input tensor out.

The counterpart of ``deploykit_runtimes.preprocess`` and ``geometry``: the same sizes, to the pixel, and
the same pixels, computed from the shape of whatever image comes. Sizes are int64 tensors throughout;
where the host's rule is a product in float64, its rounding is reproduced in integers, since engines
for GPUs have no float64.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.spec import ModelSpec
from torch import Tensor, nn
from torch.onnx.operators import reshape_from_tensor_shape, shape_as_tensor

from deploykit_exporters.graph.resize import OPENCV, PILLOW, Span, divide, resize_opencv, resize_pillow

__all__ = ["MAX_SIDE", "InGraphPreprocess", "Placement", "preprocess_module"]

MAX_SIDE = 1 << 16
"""Sides of images below which every size is exactly the host's."""

_POWERS = torch.tensor([1 << k for k in range(31)])


class Placement(NamedTuple):
    """Where the pixels of an image lie in the tensor: ``Geometry`` of the host, as int64 tensors [2].

    Attributes:
        corner: Top and left of the part of the image that is used.
        size: Height and width of that part.
        resized: Its height and width after the resize.
        offset: Its top-left corner in the tensor; negative where it is cropped.
        input_size: Height and width of the tensor.
    """

    corner: Tensor
    size: Tensor
    resized: Tensor
    offset: Tensor
    input_size: Tensor


def preprocess_module(
    spec: ModelSpec, *, size_is_dynamic: bool, cast_first: bool = True
) -> InGraphPreprocess:
    """The pre-processing of a model as a module that can be traced in front of it.

    Args:
        spec: The contract of the model without it: ``spec.input`` describes the float32 tensor that the
            network takes.
        size_is_dynamic: Whether the network takes any height and width in the ranges of
            ``spec.input.dynamic``; a letterbox with a stride then pads to the smallest rectangle.
        cast_first: Make pixels float32 before anything else, as TensorRT wants, which takes uint8 in no
            other operator. Otherwise they are moved as bytes, a quarter of the memory, which is faster on
            a CPU; the result is the same.

    Raises:
        ModelError: the model's pre-processing cannot be expressed in a graph.
    """
    return InGraphPreprocess(spec, size_is_dynamic=size_is_dynamic, cast_first=cast_first)


class InGraphPreprocess(nn.Module):
    """uint8 RGB [N, H, W, 3] of any height and width to the model's tensor, float32 [N, 3, h, w]."""

    gain: Tensor
    bias: Tensor

    def __init__(self, spec: ModelSpec, *, size_is_dynamic: bool, cast_first: bool = True) -> None:
        super().__init__()
        _check(spec)
        self.cast_first = cast_first
        self.how = spec.preprocess
        self.pre_cropped = _FloorProduct(spec.preprocess.pre_crop)
        self.target = _own_size(spec)
        self.stride = spec.preprocess.stride if size_is_dynamic else 0
        ranges = [spec.input.dynamic.get(axis) for axis in ("height", "width")]
        self.least = tuple(allowed.min if allowed else self.stride for allowed in ranges)
        std = _three(self.how.std)
        gain = [self.how.scale / deviation for deviation in std]
        bias = [-mean / deviation for mean, deviation in zip(_three(self.how.mean), std, strict=True)]
        self.register_buffer("gain", torch.tensor(gain).reshape(3, 1, 1), persistent=False)
        self.register_buffer("bias", torch.tensor(bias).reshape(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Resize, crop, pad and normalise a batch of images of one size."""
        how, place = self.how, self.place(images)
        pixels = images.to(torch.float32) if self.cast_first else images
        if how.pre_crop > 0:
            (top, left), (bottom, right) = place.corner, place.corner + place.size
            pixels = pixels[:, top:bottom, left:right]
        start = torch.maximum(-place.offset, torch.tensor(0))
        stop = torch.minimum(place.resized, place.input_size - place.offset)
        if how.resize == "none":
            pixels = pixels[:, start[0] : stop[0], start[1] : stop[1]].permute(0, 3, 1, 2).to(torch.float32)
        else:
            rows, columns = (
                Span(place.size[axis], place.resized[axis], start[axis], stop[axis]) for axis in (0, 1)
            )
            if how.resampler == "pillow":
                cropped = how.crop is not None
                pixels = resize_pillow(pixels, rows, columns, how.interpolation, cropped=cropped)
            else:
                pixels = resize_opencv(pixels, rows, columns, how.interpolation)
        if self._pads():
            before = torch.maximum(place.offset, torch.tensor(0))
            after = place.input_size - before - (stop - start)
            sides = [before[1], after[1], before[0], after[0]]
            pixels = F.pad(pixels, sides, value=float(how.pad_value))  # type: ignore[arg-type]
        return self._normalise(self._fixed(pixels))

    def place(self, images: Tensor) -> Placement:
        """Every size of the pre-processing of these images, as ``plan_geometry`` decides them."""
        how = self.how
        whole = shape_as_tensor(images)[1:3]
        corner, size = torch.zeros(2, dtype=torch.int64), whole
        if how.pre_crop > 0:
            side = self.pre_cropped(torch.minimum(whole[0], whole[1]))
            size = torch.stack([side, side])
            corner = divide(whole - size + int(how.pre_crop_offset == "up"), 2)
        if how.resize == "letterbox":
            resized, offset, input_size = self._letterbox(size)
        else:
            resized = self._resized(size)
            input_size = resized if how.crop is None else torch.tensor(how.crop)
            offset = _centred(resized, input_size)
        return Placement(corner, size, resized, offset, input_size)

    def letterbox_geometry(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What maps boxes back: ``x_image = (x - pad_x) / scale[0]``, ``y_image = (y - pad_y) / scale[1]``.

        Returns:
            scale: Tensor pixels per image pixel, across and down, float32 [2]. The two differ where a
                side was rounded.
            pad_x, pad_y: Where the image's top-left corner lies in the tensor, in pixels, float32 [].
        """
        place = self.place(images)
        scale = place.resized.to(torch.float32) / place.size.to(torch.float32)
        pad = place.offset.to(torch.float32) - place.corner.to(torch.float32) * scale
        return scale.flip(0), pad[1], pad[0]

    def _resized(self, size: Tensor) -> Tensor:
        how = self.how
        if how.resize == "none":
            return size
        if how.resize == "stretch":
            return torch.tensor([how.resize_to[0], how.resize_to[-1]])
        choose = torch.minimum if how.resize == "short" else torch.maximum
        reference = choose(size[0], size[1])
        scaled = size * how.resize_to[0]
        if how.rounding == "round":
            scaled, reference = 2 * scaled + reference, 2 * reference
        return torch.maximum(divide(scaled, reference), torch.tensor(1))

    def _letterbox(self, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        how, target = self.how, torch.tensor(self.target)
        centred = how.anchor == "center"
        resized = _fit(size, self.target, scale_up=how.scale_up, half_even=centred)
        if self.stride:
            gap = target - resized
            target = torch.maximum(
                resized + gap - self.stride * divide(gap, self.stride),
                torch.minimum(target, torch.tensor(self.least)),
            )
        offset = divide(target - resized, 2) if centred else torch.zeros(2, dtype=torch.int64)
        return resized, offset, target

    def _pads(self) -> bool:
        """Whether an image can come out smaller than the tensor."""
        how = self.how
        if how.resize == "letterbox":
            return True
        if how.crop is None:
            return False
        if how.resize == "stretch":
            return how.resize_to[0] < how.crop[0] or how.resize_to[-1] < how.crop[1]
        return how.resize != "short" or how.resize_to[0] < max(how.crop)

    def _fixed(self, pixels: Tensor) -> Tensor:
        """Tell engines the height and width where they do not depend on the image."""
        how = self.how
        fixed: tuple[int, int] | None = how.crop
        if how.resize == "letterbox":
            fixed = None if self.stride else self.target
        elif how.crop is None and how.resize == "stretch":
            fixed = (how.resize_to[0], how.resize_to[-1])
        if fixed is None:
            return pixels
        return reshape_from_tensor_shape(pixels, torch.tensor([-1, 3, *fixed]))

    def _normalise(self, pixels: Tensor) -> Tensor:
        if self.how.color == "bgr":
            pixels = pixels[:, [2, 1, 0]]
        pixels = pixels * self.gain
        return pixels + self.bias if any(self.how.mean) else pixels


def _check(spec: ModelSpec) -> None:
    how = spec.preprocess
    if how.pre_crop > 0 and how.pre_crop_offset == "even":
        raise ModelError("mmpretrain's EfficientNetCenterCrop is not available inside the graph yet.")
    if spec.input.channels != 3:
        raise ModelError(
            f"Pre-processing inside the graph takes RGB; the model has {spec.input.channels} channels."
        )
    known = PILLOW if how.resampler == "pillow" else OPENCV
    if how.resize != "none" and how.interpolation not in known:
        raise ModelError(
            f"{how.resampler.capitalize()}'s {how.interpolation!r} resize cannot be put inside the graph;"
            f" of its filters, {', '.join(known)} can.",
            hint="Export without --preprocess.",
        )
    if not all(how.std):
        raise ModelError(f"The model's pre-processing divides by a standard deviation of 0: {how.std}.")


def _own_size(spec: ModelSpec) -> tuple[int, int]:
    how = spec.preprocess
    if how.resize == "letterbox" and len(how.resize_to) == 2:
        return how.resize_to[0], how.resize_to[1]
    return spec.input.height, spec.input.width


def _three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values if len(values) == 3 else (values[0],) * 3


def _centred(length: Tensor, window: Tensor) -> Tensor:
    """Offset of torchvision's CenterCrop: rounds half to even; pads the smaller half first."""
    room, excess = (torch.maximum(gap, torch.tensor(0)) for gap in (window - length, length - window))
    half = divide(excess, 2)
    odd = (excess - 2 * half) * (half - 2 * divide(half, 2))
    return divide(room, 2) - half - odd


class _FloorProduct:
    """``max(1, int(fraction * n))`` in float64, for 0 < n < MAX_SIDE."""

    def __init__(self, fraction: float) -> None:
        self.ratio = Fraction(fraction).limit_denominator(1 << 14)
        sides = np.arange(MAX_SIDE)
        error = (sides * fraction).astype(np.int64) - sides * self.ratio.numerator // self.ratio.denominator
        # The float64 nearest to 300 / 332, say, times 83 need not be a whole number.
        self.exceptions = [(step, np.flatnonzero(error == step)) for step in np.unique(error) if step]

    def __call__(self, n: Tensor) -> Tensor:
        product = divide(n * self.ratio.numerator, self.ratio.denominator)
        for step, sides in self.exceptions:
            product = product + int(step) * (torch.from_numpy(sides) == n).to(torch.int64).sum()
        return torch.maximum(product, torch.tensor(1))


def _fit(size: Tensor, target: tuple[int, int], *, scale_up: bool, half_even: bool) -> Tensor:
    """Sides of an image scaled by the smaller ratio of ``target / size``, at least 1; int64 [2].

    Equal to ``round(side * ratio)`` (or ``int(side * ratio)``) with ``ratio`` in float64. That product is
    on the wrong side of a half or a whole number only where the true one is exactly there. What decides
    then is how float64 rounded the ratio, which is the remainder of a division by integers.
    """
    vertical = target[0] * size[1] <= target[1] * size[0]
    goal = torch.where(vertical, target[0], target[1])
    edge = torch.where(vertical, size[0], size[1])
    doubled = 2 * size * goal
    halves = divide(doubled, edge)
    exact = halves * edge == doubled
    up, down = (exact & moved for moved in _float64_error(size, goal, edge, halves))
    whole = divide(halves, 2)
    odd = halves != 2 * whole
    if half_even:
        even = whole == 2 * divide(whole, 2)
        stays = exact & odd & (down | (even & ~up))
        scaled = divide(halves + 1, 2) - stays.to(torch.int64)
    else:
        scaled = whole - (down & ~odd).to(torch.int64)
    scaled = torch.maximum(scaled, torch.tensor(1))
    return scaled if scale_up else torch.where(goal < edge, scaled, size)


def _float64_error(side: Tensor, goal: Tensor, edge: Tensor, halves: Tensor) -> tuple[Tensor, Tensor]:
    """Whether float64's ``side * (goal / edge)`` is above or below ``halves / 2``, the true product.

    In numbers below 2 ** 31 for sides and targets up to 16384.
    """
    # 2 ** exponent is the power of two at or below goal / edge, whose float64 is then
    # goal * 2 ** (52 - exponent) / edge, rounded to a whole number.
    exponent = (_POWERS[1:15] * edge <= goal).to(torch.int64).sum() - (edge > goal * _POWERS[:17]).to(
        torch.int64
    ).sum()
    rest = goal * _POWERS[torch.maximum(-exponent, torch.tensor(0))]
    for shift in (13, 13, 13, 13 - torch.maximum(exponent, torch.tensor(0))):
        rest = _remainder(rest, edge) * _POWERS[shift]
    rest = _remainder(rest, edge)
    error = torch.where(2 * rest < edge, -rest, edge - rest)
    magnitude = (_POWERS[1:16, None] <= halves).to(torch.int64).sum(0)
    # Half of the distance to the next float64, in the units of 2 * side * error; a power of two has
    # its lower neighbour at half that distance.
    limit = edge * _POWERS[torch.maximum(magnitude - 1 - exponent, torch.tensor(0))]
    moved = 2 * side * error
    below = torch.where(_POWERS[magnitude] == halves, 2 * moved, moved)
    return moved > limit, -below > limit


def _remainder(a: Tensor, b: Tensor) -> Tensor:
    return a - b * divide(a, b)
