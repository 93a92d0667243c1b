"""Where the pixels of an image lie in the input tensor, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from deploykit_runtimes.contract.limits import FEED
from deploykit_runtimes.contract.spec import AxisRange, CropOffset, InputSpec, Preprocess
from deploykit_runtimes.errors import InputError, ModelError

__all__ = ["Geometry", "check_resized", "plan_geometry"]

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How one image was placed in the tensor. All values are (vertical, horizontal) pixels.

    A region of the image is resized and put at ``offset`` in the tensor: padding where it does not
    reach, cropping where ``offset`` is negative or the tensor ends.

    Attributes:
        image_size: Height and width of the original image.
        input_size: Height and width of the tensor.
        region: Top, left, height and width of the part of the image that is used.
        resized: Height and width of that part after the resize.
        offset: Top-left corner of the resized part in the tensor.
    """

    image_size: Size
    input_size: Size
    region: tuple[int, int, int, int]
    resized: Size
    offset: Size

    @property
    def gain(self) -> tuple[float, float]:
        """Tensor pixels per image pixel; the two differ where a side was rounded."""
        return self.resized[0] / self.region[2], self.resized[1] / self.region[3]

    @cached_property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the tensor that hold pixels; the others are padding."""
        rows, columns = (
            slice(max(0, offset), min(length, offset + resized))
            for offset, length, resized in zip(self.offset, self.input_size, self.resized, strict=True)
        )
        return rows, columns

    @cached_property
    def visible(self) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of the piece of the resized part that is not cropped."""
        (rows, columns), (top, left) = self.inside, self.offset
        return rows.start - top, columns.start - left, rows.stop - top, columns.stop - left

    @cached_property
    def source(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the visible piece shows, where the region is not resized."""
        top, left, bottom, right = self.visible
        return (
            slice(self.region[0] + top, self.region[0] + bottom),
            slice(self.region[1] + left, self.region[1] + right),
        )

    def of_image(self) -> Geometry:
        """The geometry of a graph whose coordinates are those of the image already."""
        size = self.image_size
        return Geometry(image_size=size, input_size=size, region=(0, 0, *size), resized=size, offset=(0, 0))

    def boxes_to_tensor(self, boxes: np.ndarray) -> np.ndarray:
        """Map xyxy boxes, float32 [n, 4], from the image to the tensor."""
        corners = np.array(boxes, np.float32).reshape(-1, 2, 2)
        for column, axis in ((0, 1), (1, 0)):
            values = (corners[..., column] - self.region[axis]) * np.float32(self.gain[axis])
            corners[..., column] = values + self.offset[axis]
        return corners.reshape(-1, 4)

    def points_to_image(self, points: np.ndarray) -> np.ndarray:
        """Map x, y of float32 [..., 2 or more] from the tensor to the image, clipped to it.

        Further columns (a keypoint's visibility) are kept.
        """
        points = np.array(points, np.float32)
        x, y = points[..., 0], points[..., 1]
        np.clip(self._unmap(x, 1), 0, self.image_size[1], out=x)
        np.clip(self._unmap(y, 0), 0, self.image_size[0], out=y)
        return points

    def boxes_to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Map xyxy boxes, float32 [n, 4], from the tensor to the image, clipped to it."""
        corners = np.asarray(boxes, np.float32).reshape(-1, 2, 2)
        return self.points_to_image(corners).reshape(-1, 4)

    def rotated_to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Map x, y, width, height, angle (radians), float32 [n, 5]. Not clipped."""
        boxes = np.array(boxes, np.float32)
        boxes[:, 0] = self._unmap(boxes[:, 0], 1)
        boxes[:, 1] = self._unmap(boxes[:, 1], 0)
        boxes[:, 2] /= self.gain[1]
        boxes[:, 3] /= self.gain[0]
        return boxes

    def _unmap(self, values: np.ndarray, axis: int) -> np.ndarray:
        return (values - self.offset[axis]) / np.float32(self.gain[axis]) + self.region[axis]


def plan_geometry(
    image_size: Size, preprocess: Preprocess, tensor: InputSpec, imgsz: Size | None = None
) -> Geometry:
    """Decide every size of the pre-processing of one image, without touching a pixel.

    Args:
        image_size: Height and width of the image.
        preprocess: The model's pre-processing.
        tensor: The model's image input.
        imgsz: Height and width to use instead of the model's own, where its axes are dynamic.

    Raises:
        InputError: the image is empty, or the tensor size does not fit the model.
        ModelError: the pre-processing asks for a size that cannot be.
    """
    if min(image_size) < 1:
        raise InputError(f"Wanted an image with pixels, found {image_size[0]}x{image_size[1]}.")
    region = _pre_crop(image_size, preprocess)
    size = region[2], region[3]
    target = imgsz or _own_size(preprocess, tensor)
    if preprocess.resize == "letterbox":
        resized, offset, input_size = _letterbox(size, target, preprocess, tensor)
    else:
        resized = _resized(size, preprocess, target if imgsz else None)
        input_size = (target if imgsz else preprocess.crop) if preprocess.crop else resized
        how = preprocess.crop_offset
        offset = _centred(resized[0], input_size[0], how), _centred(resized[1], input_size[1], how)
    _check_size(input_size, tensor, image_size, imgsz)
    _check_possible(image_size, region, resized)
    return Geometry(
        image_size=image_size, input_size=input_size, region=region, resized=resized, offset=offset
    )


def _own_size(preprocess: Preprocess, tensor: InputSpec) -> Size:
    if preprocess.resize == "letterbox" and len(preprocess.resize_to) == 2:
        return preprocess.resize_to[0], preprocess.resize_to[1]
    return tensor.height, tensor.width


def _pre_crop(size: Size, how: Preprocess) -> tuple[int, int, int, int]:
    height, width = size
    if how.pre_crop <= 0:
        return 0, 0, height, width
    exact = how.pre_crop * min(size)
    side = max(1, int(exact))
    if how.pre_crop_offset == "even":
        top, left = (max(0, round((length - exact) / 2)) for length in size)
    else:
        up = int(how.pre_crop_offset == "up")
        top, left = ((length - side + up) // 2 for length in size)
    return top, left, side, side


def _resized(size: Size, preprocess: Preprocess, imgsz: Size | None) -> Size:
    height, width = size
    if preprocess.resize == "none":
        return size
    wanted = preprocess.resize_to
    if not wanted:
        raise ModelError("The model's metadata asks for a resize without deploykit.preprocess.resize_to.")
    if preprocess.resize == "stretch":
        return imgsz or (wanted[0], wanted[-1])
    if preprocess.resize == "cover":
        return _cover(size, (wanted[0], wanted[-1]) if imgsz is None else _scaled_sides(preprocess, imgsz))
    edge = wanted[0] if imgsz is None else _scaled_edge(preprocess, imgsz)
    reference = min(size) if preprocess.resize == "short" else max(size)
    half = 0.5 if preprocess.rounding == "round" else 0.0
    if height == reference:
        return edge, max(1, int(edge * width / height + half))
    return max(1, int(edge * height / width + half)), edge


def _cover(size: Size, target: Size) -> Size:
    """In whole numbers, which every runtime has: timm's own float64 differs in 3 of 100,000 sizes, by a
    pixel, where the scaled side is half-way between two."""
    (height, width), (high, wide) = size, target
    if height * wide <= width * high:
        return high, max(1, round(Fraction(width * high, height)))
    return max(1, round(Fraction(height * wide, width))), wide


def _scaled_sides(preprocess: Preprocess, imgsz: Size) -> Size:
    """As ``_scaled_edge``, of each side."""
    own = preprocess.crop or preprocess.resize_to
    high, wide = (
        wanted * side // was for wanted, side, was in zip(preprocess.resize_to, imgsz, own, strict=True)
    )
    return high, wide


def _scaled_edge(preprocess: Preprocess, imgsz: Size) -> int:
    """Another crop size keeps its share of the resized edge: 288 of 329 as 224 of 256."""
    if preprocess.crop is None:
        return min(imgsz) if preprocess.resize == "short" else max(imgsz)
    return int(preprocess.resize_to[0] * min(imgsz) / min(preprocess.crop))


def _centred(length: int, window: int, half: CropOffset) -> int:
    """Offset of a centre crop, as torchvision's where halves go to even; pads the smaller half first."""
    if window > length:
        return (window - length) // 2
    if half == "even":
        return -round((length - window) / 2)
    return -((length - window + (half == "up")) // 2)


def _letterbox(
    size: Size, target: Size, preprocess: Preprocess, tensor: InputSpec
) -> tuple[Size, Size, Size]:
    """Resized size, offset and tensor size.

    ``center`` is the LetterBox of Ultralytics and YOLOv5, which rounds the sides; ``top_left`` is that of
    YOLOX, which floors them.
    """
    ratio = min(target[0] / size[0], target[1] / size[1])
    if not preprocess.scale_up:
        ratio = min(ratio, 1.0)
    centred = preprocess.anchor == "center"
    sides = (round(side * ratio) if centred else int(side * ratio) for side in size)
    height, width = (max(1, side) for side in sides)
    if preprocess.stride and {"height", "width"} <= tensor.dynamic.keys():
        target = (
            _rectangle(height, target[0], preprocess.stride, tensor.dynamic["height"]),
            _rectangle(width, target[1], preprocess.stride, tensor.dynamic["width"]),
        )
    offset = (0, 0)
    if centred:
        offset = round((target[0] - height) / 2 - 0.1), round((target[1] - width) / 2 - 0.1)
    return (height, width), offset, target


def _rectangle(length: int, target: int, stride: int, allowed: AxisRange) -> int:
    """The least padding that leaves a multiple of ``stride``, as the model's range allows."""
    return max(length + (target - length) % stride, min(target, allowed.min))


def _check_possible(image_size: Size, region: tuple[int, int, int, int], resized: Size) -> None:
    """Damaged metadata can ask for sides of no pixels and for regions outside the image."""
    for start, length, whole, side in zip(region[:2], region[2:], image_size, resized, strict=True):
        if start < 0 or length < 1 or start + length > whole or side < 1:
            raise ModelError("The model's pre-processing asks for an impossible size.")


def check_resized(plan: Geometry) -> None:
    """Refuse an image whose resize would take more memory than one is given.

    Raises:
        InputError: one of its sides is many times the other.
    """
    if plan.resized[0] * plan.resized[1] > FEED:
        raise InputError(
            f"Wanted an image of at most {FEED} pixels when it is resized, found {_text(plan.image_size)}, "
            f"which comes to {_text(plan.resized)}.",
            hint="Crop the image: one of its sides is many times the other.",
        )


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _check_size(size: Size, tensor: InputSpec, image_size: Size, imgsz: Size | None) -> None:
    for axis, found, own in zip(("height", "width"), size, (tensor.height, tensor.width), strict=True):
        allowed = tensor.dynamic.get(axis)
        if found == own if allowed is None else found in allowed:
            continue
        if imgsz is None:
            hint = "The model's pre-processing does not bring images to this size: resize them before."
        elif allowed is None:
            hint = "Leave out --imgsz, or export with --dynamic."
        else:
            hint = "Choose another size with --imgsz."
        raise InputError(
            f"The model takes a {axis} of {own if allowed is None else allowed}, but a "
            f"{_text(image_size)} image would come to {_text(size)}.",
            hint=hint,
        )
