"""The size of a picture, read before it is decoded."""

from __future__ import annotations

import io

from deploykit_runtimes.errors import InputError
from PIL import Image

from deploykit.serve.errors import TooLargeError

__all__ = ["check_pixels"]


def check_pixels(image: bytes, limit: int) -> None:
    """Refuse a picture by the size that its header declares, at next to no cost.

    Raises:
        TooLargeError: it has more than ``limit`` pixels.
        InputError: it is no picture.
    """
    try:
        with Image.open(io.BytesIO(image)) as picture:
            width, height = picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(f"A picture has at most {limit} pixels here, this one far more.") from error
    # ImportError: of a decoder that another package of the process registered, such as Ultralytics' for HEIF.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, ImportError) as error:
        raise InputError(f"The {len(image)} bytes are no picture that is known here.") from error
    if width * height > limit:
        raise TooLargeError(f"A picture has at most {limit} pixels here, found {width}x{height}.")
