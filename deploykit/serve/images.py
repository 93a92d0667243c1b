"""The size of a picture, read before it is decoded."""

from __future__ import annotations

import io

from deploykit_runtimes.bands import looks_like_tiff, tiff_shape
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.npy import is_npy, npy_shape
from PIL import Image

from deploykit.serve.errors import TooLargeError

__all__ = ["check_pixels"]


def check_pixels(image: bytes, limit: int) -> None:
    """Refuse a picture by the size that its header declares, at next to no cost.

    Raises:
        TooLargeError: it has more than ``limit`` pixels.
        InputError: it is no picture.
    """
    height, width = _declared_size(image, limit)
    if width * height > limit:
        raise TooLargeError(f"A picture has at most {limit} pixels here, found {width}x{height}.")


def _declared_size(image: bytes, limit: int) -> tuple[int, int]:
    """Height and width."""
    if is_npy(image):
        height, width, *_ = (*npy_shape(image), 1, 1)
        return height, width
    try:
        with Image.open(io.BytesIO(image)) as picture:
            return picture.height, picture.width
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(f"A picture has at most {limit} pixels here, this one far more.") from error
    # ImportError: of a decoder that another package of the process registered, such as Ultralytics' for HEIF.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, ImportError) as error:
        name, file = f"The {len(image)} bytes", io.BytesIO(image)
        if looks_like_tiff(file):
            return tiff_shape(file, name)[:2]
        raise InputError(f"{name} are no picture that is known here.") from error
