"""A model's pre-processing inside its graph: raw pixels in, input tensor out.

The counterpart of ``deploykit_runtimes.pixels.preprocess`` and ``geometry``: the same sizes, to the pixel,
and the same pixels, computed from the shape of whatever image comes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from torch import Tensor, nn
from torch.onnx.operators import shape_as_tensor

from deploykit_exporters.ingraph.opencv import OPENCV, resize_opencv
from deploykit_exporters.ingraph.operators import crop, divide, pad, reshape
from deploykit_exporters.ingraph.pillow import PILLOW, resize_pillow
from deploykit_exporters.ingraph.resize import Part
from deploykit_exporters.ingraph.sizes import MAX_SIDE, CentreSquare, Fit, centred, cover, longer, shorter

__all__ = ["MAX_SIDE", "InGraphPreprocess", "Placement", "preprocess_module"]


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


def preprocess_module(spec: ModelSpec, *, size_is_dynamic: bool) -> InGraphPreprocess:
    """The pre-processing of a model as a module that can be traced in front of it.

    Args:
        spec: The contract of the model without it: ``spec.input`` describes the float32 tensor that the
            network takes.
        size_is_dynamic: Whether the network takes any height and width in the ranges of
            ``spec.input.dynamic``; a letterbox with a stride then pads to the smallest rectangle.

    Raises:
        ModelError: the model's pre-processing cannot be expressed in a graph.
    """
    return InGraphPreprocess(spec, size_is_dynamic=size_is_dynamic)


class InGraphPreprocess(nn.Module):
    """uint8 [N, H, W, C] of any height and width to the model's tensor, float32 [N, C, h, w]."""

    gain: Tensor
    bias: Tensor

    def __init__(self, spec: ModelSpec, *, size_is_dynamic: bool) -> None:
        super().__init__()
        _check(spec)
        self.how = spec.preprocess
        self.square = None
        if self.how.pre_crop > 0:
            self.square = CentreSquare(self.how.pre_crop, self.how.pre_crop_offset)
        self.target = _own_size(spec)
        self.fit = Fit(self.target, scale_up=self.how.scale_up, rounds=self.how.anchor == "center")
        self.stride = spec.preprocess.stride if size_is_dynamic else 0
        ranges = [spec.input.dynamic.get(axis) for axis in ("height", "width")]
        self.least = tuple(allowed.min if allowed else self.stride for allowed in ranges)
        self.channels = spec.input.channels
        std = _spread(self.how.std, self.channels)
        gain = [self.how.scale / deviation for deviation in std]
        bias = [
            -mean / deviation
            for mean, deviation in zip(_spread(self.how.mean, self.channels), std, strict=True)
        ]
        self.register_buffer("gain", torch.tensor(gain).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("bias", torch.tensor(bias).reshape(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Resize, crop, pad and normalise a batch of images of one size."""
        place = self.place(images)
        part = self._part(place)
        # TensorRT takes uint8 in no other operator; ``deploykit_runtimes.ort.late_cast`` moves this for CPUs.
        planes = self._resample(images.to(torch.float32), part)
        if self._pads():
            before = place.offset if self.how.crop is None else torch.maximum(place.offset, torch.tensor(0))
            planes = pad(planes, before, place.input_size - before - part.length, self.how.pad_value)
        # Tells engines the height and width. TensorRT cannot follow a -1 for the batch through the network,
        # nor sides that nothing but a Pad tells.
        fixed = self._fixed()
        if self.how.resize == "letterbox" and self.stride:
            planes = reshape(planes, torch.cat([torch.tensor([0, self.channels]), place.input_size]))
        elif fixed:
            planes = reshape(planes, torch.tensor([0, self.channels, *fixed]))
        return self._normalise(planes)

    def _part(self, place: Placement) -> Part:
        """What of the photo is resized, and what of the result is visible in the tensor."""
        start, length = None, place.resized
        if self.how.crop is not None:
            start = -place.offset
            if self._pads():
                start = torch.maximum(start, torch.tensor(0))
                length = torch.minimum(place.resized, place.input_size - place.offset) - start
            else:
                length = torch.tensor(self.how.crop)
        fixed = self._fixed()
        return Part(
            place.corner,
            place.size,
            place.resized,
            start,
            length,
            most=max(fixed) if fixed else None,
            fixed=None if self._pads() else fixed,
        )

    def _resample(self, pixels: Tensor, part: Part) -> Tensor:
        how = self.how
        if how.keeps_size:
            return pixels.permute(0, 3, 1, 2)
        if how.resize == "none":
            start = part.corner if part.start is None else part.corner + part.start
            return crop(pixels, start, start + part.length, 1).permute(0, 3, 1, 2).to(torch.float32)
        if how.resampler == "pillow":
            whole = self.square is None and how.crop is None
            return resize_pillow(pixels, part, how.interpolation, channels=self.channels, whole=whole)
        return resize_opencv(pixels, part, how.interpolation, channels=self.channels)

    def place(self, images: Tensor) -> Placement:
        """Every size of the pre-processing of these images, as ``plan_geometry`` decides them."""
        how = self.how
        corner, size = torch.zeros(2, dtype=torch.int64), shape_as_tensor(images)[1:3]
        if self.square is not None:
            corner, size = self.square(size)
        if how.resize == "letterbox":
            resized, offset, input_size = self._letterbox(size)
        elif how.crop is None:
            resized = input_size = self._resized(size)
            offset = torch.zeros(2, dtype=torch.int64)
        else:
            resized, input_size = self._resized(size), torch.tensor(how.crop)
            offset = centred(resized, input_size, how.crop_offset, pads=self._pads())
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
        if how.resize == "cover":
            return cover(size, (how.resize_to[0], how.resize_to[-1]))
        reference = shorter(size) if how.resize == "short" else longer(size)
        scaled = size * how.resize_to[0]
        if how.rounding == "round":
            scaled, reference = 2 * scaled + reference, 2 * reference
        return torch.maximum(divide(scaled, reference), torch.tensor(1))

    def _letterbox(self, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        target, resized = torch.tensor(self.target), self.fit(size)
        gap = target - resized
        if self.stride:
            gap = gap - self.stride * divide(gap, self.stride)
            gap = torch.maximum(gap, torch.minimum(target, torch.tensor(self.least)) - resized)
        centre = self.how.anchor == "center"
        offset = divide(gap, 2) if centre else torch.zeros(2, dtype=torch.int64)
        return resized, offset, resized + gap

    def _pads(self) -> bool:
        """Whether an image can come out smaller than the tensor."""
        how = self.how
        if how.resize == "letterbox":
            return True
        if how.crop is None:
            return False
        if how.resize in {"stretch", "cover"}:
            return how.resize_to[0] < how.crop[0] or how.resize_to[-1] < how.crop[1]
        return how.resize != "short" or how.resize_to[0] < max(how.crop)

    def _fixed(self) -> tuple[int, int] | None:
        """The height and width that no image exceeds, where there are any."""
        how = self.how
        if how.resize == "letterbox":
            return self.target
        if how.crop is None and how.resize == "stretch":
            return how.resize_to[0], how.resize_to[-1]
        return how.crop

    def _normalise(self, pixels: Tensor) -> Tensor:
        if self.how.color == "bgr":
            pixels = pixels[:, [2, 1, 0]]
        pixels = pixels * self.gain
        return pixels + self.bias if any(self.how.mean) else pixels


def _check(spec: ModelSpec) -> None:
    how = spec.preprocess
    PixelFormat.of(spec)  # refuses colours that contradict the number of channels
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


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) == channels else (values[0],) * channels
