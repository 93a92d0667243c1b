"""Real pictures for the proof, with as many channels as a network takes."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from deploykit_runtimes.images import read_image
from deploykit_runtimes.pixel_format import PixelFormat

__all__ = ["photo", "picture"]


@cache
def photo() -> np.ndarray:
    """A real photo that ships with the package: a cat, CC0, uint8 RGB."""
    from PIL import Image

    with files("deploykit_exporters").joinpath("assets/cat.jpg").open("rb") as file:
        return np.asarray(Image.open(file).convert("RGB"))


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
