"""Real pictures for the proof, with as many channels as a network takes."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from deploykit_runtimes.contract.shapes import nearest
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.pixel_format import PixelFormat

__all__ = ["of_allowed_size", "photo", "picture", "picture_for"]


@cache
def photo() -> np.ndarray:
    """A real photo that ships with the package: a cat, CC0, uint8 RGB."""
    from PIL import Image

    with files("deploykit_exporters").joinpath("assets/cat.jpg").open("rb") as file:
        return np.asarray(Image.open(file).convert("RGB"))


def picture_for(spec: ModelSpec) -> np.ndarray:
    """The photo as a model takes it; of the model's own size where images are not resized."""
    whole = picture(PixelFormat.of(spec))
    return _resized(whole, (spec.input.height, spec.input.width)) if spec.preprocess.keeps_size else whole


def of_allowed_size(image: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """An image, uint8 [H, W, C], resized to the nearest size that the network takes where the pre-processing
    leaves images as they are."""
    if not spec.preprocess.keeps_size:
        return image
    own = zip(("height", "width"), image.shape, (spec.input.height, spec.input.width), strict=False)
    height, width = (
        nearest(side, allowed) if (allowed := spec.input.dynamic.get(axis)) else fixed
        for axis, side, fixed in own
    )
    return _resized(image, (height, width))


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    bands = (image,) if image.ndim == 2 else tuple(np.moveaxis(image, 2, 0))
    return np.stack([np.asarray(Image.fromarray(band).resize(size[::-1])) for band in bands], axis=2)


@cache
def picture(wanted: PixelFormat) -> np.ndarray:
    """The photo as a model takes it, uint8 [H, W, C].

    Bands beyond the third are the colours turned upside down, mirrored and so on, so that no two are alike:
    channels that a file mixes up would be seen.
    """
    if wanted.color != "as_is":
        return read_image(photo(), wanted)
    turns = (np.s_[:], np.s_[::-1], np.s_[:, ::-1], np.s_[::-1, ::-1])
    bands = []
    for index in range(wanted.channels):
        turned = photo()[turns[index // 3 % 4]][..., index % 3]
        bands.append(np.roll(turned, 16 * (index // 12), axis=1))
    return np.stack(bands, axis=2)
