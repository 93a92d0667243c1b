"""A decoded image into the model's input tensor, exactly as its training code does it."""

from __future__ import annotations

import math
from functools import cached_property, lru_cache, partial

import numpy as np
from PIL import Image

from deploykit_runtimes.contract.spec import Interpolation, ModelSpec, Preprocess
from deploykit_runtimes.errors import InputError, ModelError
from deploykit_runtimes.options.arguments import as_size
from deploykit_runtimes.pixels.geometry import Geometry, check_resized, plan_geometry
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.pixels.resample import resize_opencv

__all__ = ["Preprocessor", "as_type", "preprocess"]

_PILLOW_FILTERS: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
# Half-widths of the kernels that fall to zero at their ends, so that a part can be resized alone.
_SUPPORT: dict[Interpolation, float] = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}


def preprocess(
    image: np.ndarray | Image.Image, spec: ModelSpec, imgsz: int | tuple[int, int] | None = None
) -> tuple[np.ndarray, Geometry]:
    """Resize, crop, pad and normalise one image.

    Args:
        image: uint8 [H, W, C] as ``read_image`` decodes it for the model, or a Pillow image in mode RGB or L
            as ``open_image`` does.
        spec: The model's contract; its ``Preprocess`` docstring is the definition.
        imgsz: Height and width to use instead of the model's own, where its axes are dynamic.

    Returns:
        float32 [C, H, W], and the way back to pixels of the image.

    Raises:
        InputError: the image would come to a size that the model does not take.
        OptionError: ``imgsz`` is not one or two positive numbers.
        ModelError: the spec asks for something that does not exist.
    """
    preprocessor = Preprocessor(spec)
    geometry = preprocessor.plan(image, as_size(imgsz))
    tensor = np.empty((spec.input.channels, *geometry.input_size), np.float32)
    preprocessor.render(image, geometry, out=tensor)
    return tensor, geometry


class Preprocessor:
    """``preprocess`` for many images of one model: what they have in common is worked out once.

    Raises:
        ModelError: the model's colours and its number of channels contradict each other.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._format = PixelFormat.of(spec)
        self._how = spec.preprocess
        self._plan = lru_cache(maxsize=64)(
            partial(plan_geometry, preprocess=spec.preprocess, tensor=spec.tensor)
        )

    def check(self) -> None:
        """Refuse a contract that no image could be prepared by.

        Raises:
            ModelError: mean, std and scale are not finite, not of the model's channels, or divide by 0.
        """
        _ = self._affine

    def plan(self, image: np.ndarray | Image.Image, imgsz: tuple[int, int] | None = None) -> Geometry:
        """Where the pixels of an image go; see ``plan_geometry``."""
        size = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
        plan = self._plan(size, imgsz=imgsz)
        if not self._how.included:
            check_resized(plan)
        return plan

    def render(self, image: np.ndarray | Image.Image, geometry: Geometry, *, out: np.ndarray) -> None:
        """Write the tensor of one image, as ``geometry`` plans it, into ``out``, float32 [C, H, W].

        Raises:
            InputError: the image has another number of channels than the model.
        """
        pixels = _resample(image, geometry, self._how)
        if pixels.shape[2] != len(out):
            raise InputError(
                f"The model takes {self._format}, found an image of {pixels.shape[2]} channels.",
                hint="Decode it with read_image(image, PixelFormat.of(spec)).",
            )
        gains, biases = self._affine
        if pixels.shape[:2] != geometry.input_size:
            out[...] = self._how.pad_value * gains + biases
            out = out[:, *geometry.inside]
        planes = pixels.transpose(2, 0, 1)
        out[...] = planes[::-1] if self._how.color == "bgr" else planes
        out *= gains
        out += biases

    @cached_property
    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(pixel * scale - mean) / std as one multiply and one add: two float32 [C, 1, 1]."""
        how, channels = self._how, self._format.channels
        if not {len(how.mean), len(how.std)} <= {1, channels}:
            raise ModelError(
                f"The model's pre-processing wants a mean and std of {channels} channels, found {how.mean} "
                f"and {how.std}."
            )
        mean = np.broadcast_to(how.mean, channels).astype(float)[:, None, None]
        std = np.broadcast_to(how.std, channels).astype(float)[:, None, None]
        if not std.all():
            raise ModelError(f"The model's pre-processing divides by a standard deviation of 0: {how.std}.")
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # told below
            gains, biases = (how.scale / std).astype(np.float32), (-mean / std).astype(np.float32)
        if not (np.isfinite(gains).all() and np.isfinite(biases).all()):
            raise ModelError(
                f"The model's pre-processing wants finite numbers, found scale {how.scale}, mean {how.mean}, "
                f"std {how.std}."
            )
        return gains, biases


def as_type(tensor: np.ndarray, dtype: str) -> np.ndarray:
    """A float32 tensor in the type that a model takes.

    Raises:
        ModelError: pixels cannot be fed in that type.
    """
    if dtype not in ("float32", "float16"):
        raise ModelError(
            f"The model takes pixels of the type {dtype!r}; images are fed as float32 or float16.",
            hint="Prepare the tensor yourself and call infer().",
        )
    return tensor if dtype == "float32" else tensor.astype(dtype)


def _resample(image: np.ndarray | Image.Image, geometry: Geometry, how: Preprocess) -> np.ndarray:
    """The visible part of the resized region, uint8 [h, w, C]."""
    if geometry.resized == geometry.region[2:]:
        return _with_channels(np.asarray(image)[geometry.source])
    if how.resampler == "opencv":
        top, left, bottom, right = geometry.visible
        region = _with_channels(_region_array(image, geometry))
        return resize_opencv(region, geometry.resized, how.interpolation)[top:bottom, left:right]
    if how.interpolation not in _PILLOW_FILTERS:
        raise ModelError(f"The model asks for Pillow's {how.interpolation!r} resize, which does not exist.")
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] != 3:
        # Pillow has no images with that many channels, and weights those of an RGBA one by its alpha.
        bands = [_resample_pillow(band, geometry, how) for band in np.moveaxis(image, 2, 0)]
        return np.stack(bands, axis=2)
    return _with_channels(_resample_pillow(image, geometry, how))


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    """Grey pixels [h, w] as [h, w, 1], others as they are."""
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _resample_pillow(image: np.ndarray | Image.Image, geometry: Geometry, how: Preprocess) -> np.ndarray:
    top, left, bottom, right = geometry.visible
    region = _region_image(image, geometry)
    resample = _PILLOW_FILTERS[how.interpolation]
    if how.interpolation in _SUPPORT and _horizontal_first(region.size, geometry.resized):
        return _resize_part(region, geometry.resized, geometry.visible, resample, _SUPPORT[how.interpolation])
    resized = region.resize(geometry.resized[::-1], resample)
    return np.asarray(resized)[top:bottom, left:right]


def _horizontal_first(source: tuple[int, int], resized: tuple[int, int]) -> bool:
    """Whether every Pillow resizes the width before the height.

    Up to version 12 that was the only order. Version 13 takes the other one for some sizes, and the
    rounding between the two passes makes it another image.
    """
    (width, height), (new_height, new_width) = source, resized
    return new_height >= height or height - new_height <= 2 * (width - new_width)


def _resize_part(
    image: Image.Image,
    size: tuple[int, int],
    part: tuple[int, int, int, int],
    resample: Image.Resampling,
    support: float,
) -> np.ndarray:
    """One part (top, left, bottom, right) of ``image.resize``, to the bit, at a fraction of its cost."""
    top, left, bottom, right = part
    across, down = image.width / size[1], image.height / size[0]
    columns = _window(image.width, size[1], left, right)
    rows = _window(image.height, size[0], top, bottom)
    margin = support * max(down, 1) + 1
    first = max(0, math.floor(rows[0] * down - margin))
    last = min(image.height, math.ceil(rows[1] * down + margin))
    lines = image.crop((0, first, image.width, last)).resize(
        (columns[1] - columns[0], last - first),
        resample,
        box=(columns[0] * across, 0, columns[1] * across, last - first),
    )
    resized = lines.resize(
        (lines.width, rows[1] - rows[0]),
        resample,
        box=(0, rows[0] * down - first, lines.width, rows[1] * down - first),
    )
    return np.asarray(resized)[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]


def _window(source: int, resized: int, start: int, stop: int) -> tuple[int, int]:
    """The smallest range around start..stop that Pillow can resize alone to the same pixels.

    Pillow keeps the box of a resize in float32. Only where both its edges fall on source positions
    that float32 holds does a part come out as it does in the whole.
    """
    period = resized // math.gcd(source, resized)
    step = period // (period & -period)
    low, high = start // step * step, min(resized, -(-stop // step) * step)
    exact = all(float(np.float32(edge * source / resized)) * resized == edge * source for edge in (low, high))
    return (low, high) if exact else (0, resized)


def _region_image(image: np.ndarray | Image.Image, geometry: Geometry) -> Image.Image:
    top, left, height, width = geometry.region
    if isinstance(image, np.ndarray):
        return Image.fromarray(np.ascontiguousarray(image[top : top + height, left : left + width]))
    if (height, width) == geometry.image_size:
        return image
    # A crop, not a box: with a box, Pillow's filters look at the pixels around it.
    return image.crop((left, top, left + width, top + height))


def _region_array(image: np.ndarray | Image.Image, geometry: Geometry) -> np.ndarray:
    top, left, height, width = geometry.region
    return np.asarray(image)[top : top + height, left : left + width]
