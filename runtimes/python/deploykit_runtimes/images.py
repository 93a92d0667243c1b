"""Images from files, bytes, Pillow and numpy, as the training codes decode them."""

from __future__ import annotations

import glob
import io
import math
import re
import struct
import zlib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from deploykit_runtimes.errors import InputError

# What Pillow's decoders raise on damaged files.
_DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError),
    *(MemoryError, struct.error, zlib.error),
)

_UINT8 = np.dtype(np.uint8)

__all__ = ["ImageSource", "list_images", "open_image", "read_image"]

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg"}
    | {".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)


def read_image(source: ImageSource) -> np.ndarray:
    """Decode an image to uint8 RGB [H, W, 3].

    * The EXIF orientation of a file is applied, as OpenCV and Ultralytics do.
    * Transparency is dropped, not blended: the colours stored under it are used, as
      ``convert("RGB")`` of the timm and torchvision loaders does.
    * Grey, palette and CMYK images become RGB; of 16-bit greys the upper eight bits are kept; of an
      animation, the first frame.
    * A numpy array must be uint8: RGB [H, W, 3], RGBA [H, W, 4] or grey [H, W] or [H, W, 1].

    Args:
        source: A path, the bytes of a file, a Pillow image or a numpy array.

    Raises:
        InputError: it cannot be decoded, is larger than Pillow's limit against decompression
            bombs, or is an array of another dtype or shape.
    """
    if isinstance(source, np.ndarray):
        return _check_array(source)
    return np.asarray(open_image(source))


def open_image(source: ImageSource) -> Image.Image:
    """The same as ``read_image``, as a decoded Pillow image in mode RGB."""
    if isinstance(source, np.ndarray):
        return Image.fromarray(_check_array(source))
    if isinstance(source, Image.Image):
        return _decode(source, "The Pillow image")
    if isinstance(source, bytes):
        return _open(io.BytesIO(source), f"The {len(source)} bytes given")
    if not isinstance(source, str | Path):
        raise InputError(
            f"Wanted an image as a path, bytes, Pillow image or numpy array, found {type(source).__name__}."
        )
    path = Path(source)
    if not path.is_file():
        if path.is_dir():
            raise InputError(
                f"Wanted an image, {path} is a folder.", hint="Give the images in it, one by one."
            )
        raise InputError(f"Image {path} does not exist.", hint=_near(path))
    return _open(path, f"Image {path}")


def list_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Expand files, folders and glob patterns into image files, each of them once.

    A file is taken as it is; of a folder, the files with a known image suffix, sub-folders not
    included; of a pattern (``**`` allowed), the same. Folders and patterns come in natural order:
    ``img2`` before ``img10``.

    Args:
        paths: One or several.

    Raises:
        InputError: one of the paths gives no image.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    for path in given:
        if not isinstance(path, str | Path):
            raise InputError(f"Wanted the path of an image, found {type(path).__name__}.")
    return list(dict.fromkeys(found for path in given for found in _matches(Path(path).expanduser())))


def _matches(path: Path) -> list[Path]:
    if matches := _expand(path):
        return matches
    suffixes = f"Known suffixes: {' '.join(sorted(SUFFIXES))}"
    if path.is_dir():
        inside = any(item.is_dir() for item in path.iterdir())
        more = f"Its sub-folders are not looked into; with them: '{path}/**/*'" if inside else suffixes
        raise InputError(f"The folder {path} holds no images.", hint=more)
    if glob.has_magic(str(path)):
        raise InputError(f"No image matches {path}.", hint=suffixes)
    raise InputError(f"Image {path} does not exist.", hint=_near(path))


def _near(path: Path) -> str:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=2)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    candidates = path.iterdir() if path.is_dir() else map(Path, glob.iglob(str(path), recursive=True))  # noqa: PTH207, Path.glob takes no absolute pattern
    images = (item for item in candidates if item.suffix.lower() in SUFFIXES and item.is_file())
    return sorted(images, key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _open(file: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with Image.open(file) as image:
            _refuse_bomb(image)
            return _decode(image, name)
    # Ultralytics replaces Image.open by one that looks for a HEIF plugin, which is an import that can fail.
    except (UnidentifiedImageError, ImportError) as error:
        raise InputError(
            f"{name} is not an image of a known format.", hint=f"Pillow {PIL.__version__} was to read it."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name} has more pixels than the limit of {Image.MAX_IMAGE_PIXELS}.",
            hint="If you trust it, open it with Pillow after raising PIL.Image.MAX_IMAGE_PIXELS.",
        ) from error
    except _DAMAGED as error:
        raise InputError(f"{name} cannot be read: {error}.") from error


def _refuse_bomb(image: Image.Image) -> None:
    """Pillow itself refuses only twice its limit, and warns from there down to the limit."""
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError


def _decode(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
    except _DAMAGED as error:
        raise InputError(f"{name} is damaged or truncated.", hint=f"Its decoder says: {error}.") from error
    return _to_rgb(image, name)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise InputError(
                f"{name} is a 32-bit grey image of unknown range.", hint="Convert it to 8 bits first."
            )
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise InputError(f"{name} is a float image of unknown range.", hint="Convert it to 8 bits first.")
    return image.convert("RGB")


def _check_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != _UINT8:
        raise InputError(
            f"Wanted a uint8 array with RGB pixels of 0..255, found {array.dtype}.",
            hint="For floats in 0..1: (255 * array).round().astype(np.uint8)",
        )
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        hint = "Move the channels last with array.transpose(1, 2, 0)." if array.shape[:1] == (3,) else ""
        raise InputError(
            f"Wanted an array of shape [H, W, 3] (or [H, W, 4], [H, W]), found {list(array.shape)}.",
            hint=hint,
        )
    if channels == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return array if channels == 3 else array[..., :3]
