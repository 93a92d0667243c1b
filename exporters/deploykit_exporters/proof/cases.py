"""The inputs of the proof: noise and real pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.pixels.preprocess import preprocess

from deploykit_exporters.proof.pictures import picture, picture_for

__all__ = ["LARGE", "PICTURE", "Case", "image_case", "natural_case", "proof_cases", "stand_ins"]

PICTURE = "picture"
"""The name of cases that stand in for noise."""

_SOFTEST = 3
"""How often the contrast of a picture is halved."""

LARGE = 640 * 640
"""Pixels from which on a forward pass takes seconds on a small machine."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input of the proof.

    Attributes:
        name: What it is.
        images: The tensor [N, C, H, W] float32.
        natural: A picture, on which the tolerance holds whatever float32 does; noise otherwise.
        softened: How many times its contrast was halved.
    """

    name: str
    images: np.ndarray
    natural: bool = True
    softened: int = 0

    @property
    def title(self) -> str:
        """``photo 1x3x224x224``."""
        soft = f", contrast / {2**self.softened}" if self.softened else ""
        return f"{self.name} {self.shape}{soft}"

    @property
    def shape(self) -> str:
        """``1x3x224x224``."""
        return "x".join(map(str, self.images.shape))


def proof_cases(spec: ModelSpec) -> tuple[Case, ...]:
    """The inputs on which an export is proven: noise and a real photo, at several shapes."""
    return tuple(_proof_cases(spec))


def _proof_cases(spec: ModelSpec) -> Iterator[Case]:
    generator = np.random.default_rng(0)
    photo = image_case(picture_for(spec), spec, name="photo")
    yield photo
    if spec.output.layout == "logits":
        # Where the photo makes scores of thousands, an error of 0.1 would pass: here they are small.
        yield stand_ins(photo, spec)[-1]
    batches = (2, 3) if "batch" in spec.input.dynamic else (spec.input.batch,) * 2
    shapes = [(n, spec.input.channels, *size) for n, size in zip(batches, _sizes(spec.input), strict=True)]
    if len({shape[2:] for shape in shapes}) == 1 and spec.input.height * spec.input.width > LARGE:
        # One size only, and an expensive one: a second batch of noise would say nothing new.
        shapes = shapes[:1]
    for shape in dict.fromkeys(shapes):
        yield Case(name="noise", images=_noise(generator, shape, spec), natural=False)


def _sizes(spec: InputSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    return _small(spec), _odd(spec)


def _small(spec: InputSpec) -> tuple[int, int]:
    """A landscape size well below the native one, or the native one where an axis is fixed."""
    return _scaled(spec, 0.5, 0.75)


def _odd(spec: InputSpec) -> tuple[int, int]:
    """A portrait size that is a multiple only of what the axis demands."""
    return _scaled(spec, 0.8, 0.55, extra=1)


def _scaled(spec: InputSpec, height: float, width: float, *, extra: int = 0) -> tuple[int, int]:
    size = []
    for axis, native, scale in (("height", spec.height, height), ("width", spec.width, width)):
        allowed = spec.dynamic.get(axis)
        if allowed is None:
            size.append(native)
            continue
        n = int(native * scale) // allowed.step * allowed.step
        if extra and n % 2 == 0:
            n += allowed.step
        lowest = -(-allowed.min // allowed.step) * allowed.step
        highest = allowed.max // allowed.step * allowed.step
        size.append(min(max(n, lowest), highest))
    return size[0], size[1]


def _noise(generator: np.random.Generator, shape: tuple[int, ...], spec: ModelSpec) -> np.ndarray:
    """Uniform pixels, normalised as images are, so that activations have their usual range."""
    return _normalised(generator.random(shape, dtype=np.float32) * 255.0, spec)


def natural_case(shape: tuple[int, ...], spec: ModelSpec) -> Case:
    """Parts of the photo as a batch of a shape [N, C, H, W], each another part, normalised as images are."""
    from PIL import Image

    count, _, height, width = shape
    bands = [Image.fromarray(band) for band in np.moveaxis(picture(PixelFormat.of(spec)), 2, 0)]
    parts = []
    for index in range(count):
        left, top = (bands[0].width // 3) * (index % 3) // 2, (bands[0].height // 3) * (index // 3 % 3) // 2
        box = (left, top, left + bands[0].width * 2 // 3, top + bands[0].height * 2 // 3)
        resized = [band.resize((width, height), Image.Resampling.BILINEAR, box=box) for band in bands]
        parts.append(np.stack([np.asarray(band, np.float32) for band in resized]))
    return Case(name=PICTURE, images=_normalised(np.stack(parts), spec))


def stand_ins(case: Case, spec: ModelSpec) -> tuple[Case, ...]:
    """What is compared besides a case on which float32 cannot decide.

    For noise that is a picture of the same shape, and for every picture the same with a half, a quarter and
    an eighth of the contrast: what is chaotic in a network calms down towards an even grey.
    """
    whole = case if case.natural else natural_case(case.images.shape, spec)
    mean, std = _normalisation(spec, whole.images.shape[1])
    grey = (whole.images * std + mean).mean((1, 2, 3), keepdims=True, dtype=np.float64)
    even = ((grey - mean) / std).astype(np.float32)
    softer = [
        replace(whole, images=even + (whole.images - even) / np.float32(2**halved), softened=halved)
        for halved in range(1, _SOFTEST + 1)
    ]
    return tuple(softer) if case.natural else (whole, *softer)


def _normalised(pixels: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Pixels in 0..255, float32 [N, C, H, W], scaled and normalised as images are."""
    mean, std = _normalisation(spec, pixels.shape[1])
    return np.ascontiguousarray((pixels * np.float32(spec.preprocess.scale) - mean) / std, dtype=np.float32)


def _normalisation(spec: ModelSpec, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, float32 [C, 1, 1]."""
    mean = np.resize(np.asarray(spec.preprocess.mean, np.float32), channels)[:, None, None]
    std = np.resize(np.asarray(spec.preprocess.std, np.float32), channels)[:, None, None]
    return mean, std


def image_case(image: np.ndarray, spec: ModelSpec, *, name: str) -> Case:
    """A real image, pre-processed as ``predict`` does it; repeated where the batch is fixed.

    Args:
        image: uint8 [H, W, C] as ``read_image`` decodes it for the model.
    """
    tensor, _ = preprocess(image, spec)
    batch = 1 if "batch" in spec.input.dynamic else spec.input.batch
    return Case(name=name, images=np.repeat(tensor[None], batch, axis=0))
