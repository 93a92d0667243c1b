"""Colours to grey, in the arithmetic of the library that the training code decodes images with.

Both libraries take 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) in integers. Pillow rounds 16 bits, always the
same way. OpenCV's ``cvtColor`` rounds 15 bits, and ``imread(..., IMREAD_GRAYSCALE)`` leaves it to each
decoder: JPEG files give their luma, libpng cuts 15 bits off, and the BMP, PNM and TIFF decoders round 14.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from deploykit_runtimes.contract.spec import Resampler

__all__ = ["draft_luma", "grey_image", "grey_of"]


class _Weights(NamedTuple):
    """``(red * R + green * G + blue * B + half) >> bits``."""

    red: int
    green: int
    blue: int
    bits: int
    half: int


_PILLOW = _Weights(19595, 38470, 7471, 16, 1 << 15)
_CVT_COLOR = _Weights(9798, 19235, 3735, 15, 1 << 14)
_LIBPNG = _Weights(9797, 19234, 3737, 15, 0)
_DECODERS = _Weights(4899, 9617, 1868, 14, 1 << 13)
_OF_FORMAT = {
    "PNG": _LIBPNG,
    **dict.fromkeys(("BMP", "DIB", "PPM", "TIFF"), _DECODERS),
    # OpenCV does not decode it: Ultralytics reads it with Pillow.
    "AVIF": _PILLOW,
}


def grey_of(rgb: np.ndarray, library: Resampler) -> np.ndarray:
    """Mix the colours of an array as the library's own conversion does.

    Args:
        rgb: uint8 [H, W, 3]; further channels are ignored.
        library: ``pillow`` (``convert("L")``) or ``opencv`` (``cvtColor``).

    Returns:
        uint8 [H, W].
    """
    return _mix(rgb, _PILLOW if library == "pillow" else _CVT_COLOR)


def grey_image(image: Image.Image, library: Resampler, file_format: str | None = None) -> Image.Image:
    """A decoded image of 8 bits as one of mode L.

    Args:
        image: In any mode that converts to RGB.
        library: Whose conversion.
        file_format: Pillow's name of the format it was decoded from; None: it is not from a file. Ultralytics
            converts those with Pillow, as everyone does.
    """
    colourless = image.mode in ("L", "1", "LA", "La")
    if library == "pillow" or file_format is None or colourless:
        return image if image.mode == "L" else image.convert("L")
    return Image.fromarray(_mix(np.asarray(image.convert("RGB")), _OF_FORMAT.get(file_format, _CVT_COLOR)))


def draft_luma(image: Image.Image) -> None:
    """Ask for the luma of a JPEG file that is opened and not yet decoded, as OpenCV's decoder does."""
    if image.format in ("JPEG", "MPO") and image.mode == "RGB":
        image.draft("L", image.size)


def _mix(rgb: np.ndarray, weights: _Weights) -> np.ndarray:
    total = rgb[..., 0] * np.uint32(weights.red)
    total += rgb[..., 1] * np.uint32(weights.green)
    total += rgb[..., 2] * np.uint32(weights.blue)
    total += np.uint32(weights.half)
    total >>= np.uint32(weights.bits)
    return total.astype(np.uint8)
