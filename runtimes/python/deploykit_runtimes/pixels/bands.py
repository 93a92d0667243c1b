"""Files with other channels than colours or grey: RGBA and multispectral images, not converted.

A file gives the channels that the training code gets from it. Ultralytics reads with OpenCV, which has the
colours of an RGBA image in the order blue, green, red, alpha, and keeps the upper byte of 16-bit pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from deploykit_runtimes.errors import DependencyError, InputError
from deploykit_runtimes.optional import require
from deploykit_runtimes.pixels.pixel_format import PixelFormat

__all__ = ["looks_like_tiff", "pillow_bands", "tiff_bands", "tiff_shape"]

_SAMPLES, _PHOTOMETRIC, _RGB = 277, 262, 2  # SamplesPerPixel, PhotometricInterpretation
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pillow_bands(image: Image.Image, name: str, wanted: PixelFormat) -> np.ndarray | None:
    """The channels of an image that Pillow has opened, uint8 [H, W, C].

    Args:
        image: A file's, or any other. It is decoded here.
        name: What it is called in errors.
        wanted: What the model takes.

    Returns:
        None for a TIFF file with channels that Pillow does not give out: see ``tiff_bands``.

    Raises:
        InputError: it has another number of channels, or values of more than 8 bits.
    """
    pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if pages > 1:
        return _stacked(image, pages, name, wanted)
    stored = _tag(image, _SAMPLES) if image.format == "TIFF" else len(image.getbands())
    if stored != wanted.channels:
        raise _other_count(name, wanted, f"{stored} ({image.mode})")
    if len(image.getbands()) != stored:
        return None
    if image.format == "TIFF" and wanted.library == "opencv" and _tag(image, _PHOTOMETRIC) == _RGB:
        raise InputError(
            f"{name} is a TIFF file of RGB and one more channel, which OpenCV multiplies the colours by.",
            hint=f"Store {wanted.channels} grey pages, as Ultralytics wants them, or an array (.npy).",
        )
    pixels = _eight_bits(image, name, wanted)
    if pixels.ndim == 2:
        return pixels[..., None]
    if wanted.library == "opencv" and image.format is not None and image.mode == "RGBA":
        return pixels[..., [2, 1, 0, 3]]
    return pixels


def tiff_bands(source: Path | io.BytesIO, name: str, wanted: PixelFormat) -> np.ndarray:
    """The channels of a TIFF file that Pillow cannot give out, uint8 [H, W, C].

    Raises:
        DependencyError: tifffile is not installed.
        InputError: it cannot be read, or has another number of channels or more than 8 bits.
    """
    with _tifffile(source, name) as file:
        pixels, planar = _only_page(file, name, wanted)
    if pixels.dtype != np.uint8:
        pixels = _upper_byte(pixels, name, wanted)
    pixels = np.moveaxis(pixels, 0, 2) if planar else pixels
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], wanted.channels))


def _only_page(file: Any, name: str, wanted: PixelFormat) -> tuple[np.ndarray, bool]:
    """The pixels of the only page of a ``tifffile.TiffFile``, and whether its channels come first."""
    page = file.pages[0]
    if page.imagewidth * page.imagelength > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise InputError(f"{name} has more pixels than the limit of {Image.MAX_IMAGE_PIXELS}.")
    if page.samplesperpixel != wanted.channels or len(file.pages) > 1:
        raise _other_count(name, wanted, f"{page.samplesperpixel} in {len(file.pages)} page(s)")
    return page.asarray(), page.samplesperpixel > 1 and page.planarconfig == 2


def tiff_shape(source: Path | io.BytesIO, name: str) -> tuple[int, int, int]:
    """Height, width and channels of the first page of such a file, of which no pixel is decoded.

    Raises:
        DependencyError, InputError: see ``tiff_bands``.
    """
    with _tifffile(source, name) as file:
        page = file.pages[0]
        return int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)


@contextmanager
def _tifffile(source: Path | io.BytesIO, name: str) -> Iterator[Any]:
    """An open ``tifffile.TiffFile``."""
    try:
        tifffile = require("tifffile", extra="tiff", purpose=f"read the channels of {name}")
    except DependencyError as error:
        raise DependencyError(error.problem, hint=f"{error.hint}, or give the array as .npy.") from error
    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        with tifffile.TiffFile(source) as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # whatever tifffile and its codecs raise on a damaged or unusual file
        raise InputError(
            f"{name} cannot be read: {error}.", hint="Give the array as .npy, which needs no decoder."
        ) from error


def looks_like_tiff(source: Path | io.BytesIO) -> bool:
    """Whether a file starts as TIFF files do."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:4] in _TIFF
    with source.open("rb") as file:
        return file.read(4) in _TIFF


def _stacked(image: Image.Image, pages: int, name: str, wanted: PixelFormat) -> np.ndarray:
    """A page for each channel."""
    if pages != wanted.channels:
        raise _other_count(name, wanted, f"{pages} pages")
    bands: list[np.ndarray] = []
    for page in ImageSequence.Iterator(image):
        band = _eight_bits(page, name, wanted)
        if band.ndim != 2 or (bands and band.shape != bands[0].shape):
            raise InputError(
                f"{name} has pages that are not grey, or of several sizes; wanted one page per channel, "
                f"all of one size."
            )
        bands.append(band)
    return np.stack(bands, axis=2)


def _eight_bits(image: Image.Image, name: str, wanted: PixelFormat) -> np.ndarray:
    """The pixels of one page, uint8 [H, W] or [H, W, bands]."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _upper_byte(np.asarray(image), name, wanted)
    if image.mode in ("P", "PA", "1"):
        raise InputError(
            f"{name} has {'a palette' if image.mode != '1' else '1 bit per pixel'}; "
            "wanted 8 bits per channel.",
            hint="Convert it first, or give the channels as a uint8 array.",
        )
    return np.asarray(image)


def _upper_byte(pixels: np.ndarray, name: str, wanted: PixelFormat) -> np.ndarray:
    if wanted.library == "opencv" and pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    raise InputError(
        f"{name} holds {pixels.dtype} values; wanted 8 bits per channel.",
        hint="Scale the pixels to 0..255 as the training did, and give them as a uint8 array or .npy file.",
    )


def _other_count(name: str, wanted: PixelFormat, found: str) -> InputError:
    count = wanted.channels
    return InputError(
        f"The model takes {wanted}, {name} has {found}.",
        hint=f"Give a uint8 array [H, W, {count}], a .npy file of such an array, or a TIFF file of {count} "
        "channels or grey pages.",
    )


def _tag(image: Image.Image, number: int) -> int:
    tags: Any = getattr(image, "tag_v2", {})
    value = tags.get(number, 1)
    return int(value[0] if isinstance(value, tuple) else value)
