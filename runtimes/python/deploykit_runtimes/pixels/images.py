"""Images from files, bytes, Pillow and numpy, as the training codes decode them."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import PIL
from PIL import ExifTags, Image, UnidentifiedImageError

from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.bands import looks_like_tiff, pillow_bands, tiff_bands, tiff_shape
from deploykit_runtimes.pixels.grey import draft_luma, grey_image, grey_of
from deploykit_runtimes.pixels.listing import no_image
from deploykit_runtimes.pixels.npy import is_npy, read_npy
from deploykit_runtimes.pixels.pixel_format import RGB, PixelFormat
from deploykit_runtimes.pixels.sources import ImageSource, NamedBytes, ReadySource, read_source

# What Pillow's decoders raise on damaged files.
_DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError),
    *(MemoryError, struct.error, zlib.error),
)

# https://www.cipa.jp/std/documents/e/DC-X008-Translation-2019-E.pdf, 4.6.5.1.6: what makes an image upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# PostScript and Windows metafiles are programs, which Pillow has others run.
_PROGRAMS = frozenset({"EPS", "WMF"})

_UINT8 = np.dtype(np.uint8)

__all__ = ["ImageSource", "drawable", "open_image", "read_image"]


def read_image(source: ImageSource, wanted: PixelFormat = RGB) -> np.ndarray:
    """Decode an image to uint8 [H, W, C]: RGB, or what a model takes instead.

    * The EXIF orientation of a file is applied, as OpenCV and Ultralytics do.
    * Transparency is dropped, not blended: the colours stored under it are used, as
      ``convert("RGB")`` of the timm and torchvision loaders does.
    * Grey, palette and CMYK images become RGB; of 16-bit greys the upper eight bits are kept; of an
      animation, the first frame.
    * A numpy array must be uint8: RGB [H, W, 3], RGBA [H, W, 4] or grey [H, W] or [H, W, 1]. So must that of
      a .npy file.
    * For a model of grey images, colours are mixed as its training code does it, and 16-bit images are
      refused where that code would cut their values off.
    * For a model of other channels: an array, a .npy file, or a file with just as many channels (for
      instance a TIFF file with a page for each). They are not converted or turned.

    Args:
        source: A path, an http(s) URL, an open file, the bytes of a file, a Pillow image or a numpy array.
        wanted: What the model takes: ``PixelFormat.of(spec)``.

    Raises:
        InputError: it cannot be fetched or decoded, is larger than Pillow's limit against decompression
            bombs, is an array of another dtype or shape, or lacks the channels of the model.
        DependencyError: a TIFF file needs tifffile, which is not installed.
    """
    source = read_source(source)
    if isinstance(source, np.ndarray):
        return _check_array(source, wanted)
    if is_npy(source):
        return _check_array(read_npy(cast("str | Path | bytes", source)), wanted)
    if wanted.color == "as_is":
        return _read_bands(source, wanted)
    pixels = np.asarray(open_image(source, wanted))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def open_image(source: ImageSource, wanted: PixelFormat = RGB) -> Image.Image:
    """The same as ``read_image``, as a decoded Pillow image in mode RGB, or L for a model of grey images."""
    source = read_source(source)
    if isinstance(source, np.ndarray) or is_npy(source):
        pixels = read_image(source, wanted)
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if isinstance(source, Image.Image):
        return _converted(_decode(source, "The Pillow image"), "The Pillow image", wanted, None)
    file, name = _file_of(source)
    return _open(file, name, wanted)


def drawable(source: ImageSource) -> np.ndarray:
    """The image as something to draw on, uint8 RGB [H, W, 3]: of other channels than colours the first three,
    or the first where there are two.

    Raises:
        InputError, DependencyError: see ``read_image``.
    """
    source = read_source(source)
    if is_npy(source):
        source = read_npy(cast("str | Path | bytes", source))
    if isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[2] not in (1, 3, 4):
        source = source[..., : 3 if source.shape[2] > 3 else 1]
    try:
        return read_image(source)
    except InputError:
        if isinstance(source, np.ndarray | Image.Image):
            raise
        file, name = _file_of(source)
        if not looks_like_tiff(file):
            raise
        # With channels that Pillow does not give out.
        channels = tiff_shape(file, name)[2]
        return drawable(tiff_bands(file, name, PixelFormat(color="as_is", channels=channels)))


def _file_of(source: str | Path | bytes) -> tuple[Path | io.BytesIO, str]:
    """A file that exists, and its name for errors."""
    if isinstance(source, bytes):
        name = source.name if isinstance(source, NamedBytes) else ""
        return io.BytesIO(source), name or f"The {len(source)} bytes given"
    path = Path(source)
    if not path.is_file():
        if path.is_dir():
            raise InputError(
                f"Wanted an image, {path} is a folder.",
                hint="Give the folder alone, or the images in it one by one.",
            )
        raise no_image(path)
    return path, f"Image {path}"


def _open(file: Path | io.BytesIO, name: str, wanted: PixelFormat) -> Image.Image:
    with _reading(name), Image.open(file) as image:
        _refuse_others(image)
        if wanted.color == "grey" and wanted.library == "opencv":
            draft_luma(image)
        return _converted(_decode(image, name), name, wanted, image.format)


def _read_bands(source: ReadySource, wanted: PixelFormat) -> np.ndarray:
    """The channels of a file or Pillow image, uint8 [H, W, C]."""
    if isinstance(source, Image.Image):
        pixels = pillow_bands(source, "The Pillow image", wanted)
    else:
        file, name = _file_of(cast("str | Path | bytes", source))
        pixels = None
        with _reading(name):
            try:
                with Image.open(file) as image:
                    _refuse_others(image)
                    pixels = pillow_bands(image, name, wanted)
            except (UnidentifiedImageError, ImportError):
                if not looks_like_tiff(file):
                    raise
        if pixels is None:
            pixels = tiff_bands(file, name, wanted)
    if pixels is None:
        raise InputError(f"The Pillow image lacks channels of its file; wanted {wanted}.")
    return pixels


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Says what is wrong with a file that cannot be decoded."""
    try:
        yield
    # Ultralytics replaces Image.open by one that looks for a HEIF plugin, which is an import that can fail.
    except (UnidentifiedImageError, ImportError) as error:
        raise InputError(
            f"{name} is not an image of a known format.", hint=f"Pillow {PIL.__version__} tried to read it."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name} has more pixels than the limit of {Image.MAX_IMAGE_PIXELS}.",
            hint="If you trust it, open it with Pillow after raising PIL.Image.MAX_IMAGE_PIXELS.",
        ) from error
    except _DAMAGED as error:
        raise InputError(f"{name} cannot be read: {error}.") from error


def _refuse_others(image: Image.Image) -> None:
    """Refuse what another program would decode, and bombs.

    Pillow itself refuses only twice its limit, and warns from there down to the limit.
    """
    if image.format in _PROGRAMS:
        raise UnidentifiedImageError
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError


def _decode(image: Image.Image, name: str) -> Image.Image:
    """Decoded, and upright."""
    try:
        image.load()
    except _DAMAGED as error:
        raise InputError(f"{name} is damaged or truncated.", hint=f"Its decoder says: {error}.") from error
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """As EXIF has it; 1, upright, where it says nothing that can be read: the pixels are whole anyway."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (*_DAMAGED, Warning):  # where warnings are errors
        return 1
    return value if isinstance(value, int) else 1


def _converted(image: Image.Image, name: str, wanted: PixelFormat, file_format: str | None) -> Image.Image:
    """In mode RGB, or L for a model of grey images."""
    grey = wanted.color == "grey"
    if image.mode in ("RGB", "L"):
        pass
    elif image.mode == "F":
        raise InputError(f"{name} is a float image of unknown range.", hint="Convert it to 8 bits first.")
    elif image.mode == "I" or image.mode.startswith("I;16"):
        if grey and wanted.library == "pillow":
            raise InputError(
                f"{name} has 16 bits per pixel, wanted 8: the training code clips values at 255.",
                hint="Scale the pixels to 0..255 first.",
            )
        image = _upper_byte(image, name)
    if grey:
        return grey_image(image, wanted.library, file_format)
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours; Pillow warns of the direct way
    return image if image.mode == "RGB" else image.convert("RGB")


def _upper_byte(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise InputError(
            f"{name} is a 32-bit grey image of unknown range.", hint="Convert it to 8 bits first."
        )
    return Image.fromarray((values >> 8).astype(np.uint8))


def _check_array(array: np.ndarray, wanted: PixelFormat) -> np.ndarray:
    """uint8 [H, W, C] of an array that fits.

    Raises:
        InputError: it does not.
    """
    if array.dtype != _UINT8:
        raise InputError(
            f"Wanted a uint8 array with {_VALUES[wanted.color]} of 0..255, found {array.dtype}.",
            hint="For floats in 0..1: (255 * array).round().astype(np.uint8)",
        )
    channels = array.shape[2] if array.ndim == 3 else 1
    known = (wanted.channels,) if wanted.color == "as_is" else (1, 3, 4)
    if array.ndim not in (2, 3) or channels not in known or 0 in array.shape:
        first = array.shape[:1] == (wanted.channels,)
        hint = "Move the channels last with array.transpose(1, 2, 0)." if first else ""
        raise InputError(f"Wanted an array of shape {_shapes(wanted)}, found {list(array.shape)}.", hint=hint)
    if wanted.color == "grey" and channels > 1:
        return grey_of(array, wanted.library)[..., None]
    if wanted.color in ("grey", "as_is"):
        return array.reshape(*array.shape[:2], channels)
    if channels == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return array if channels == 3 else array[..., :3]


_VALUES = {"rgb": "RGB pixels", "bgr": "RGB pixels", "grey": "grey pixels", "as_is": "pixels"}


def _shapes(wanted: PixelFormat) -> str:
    if wanted.color == "as_is":
        return f"[H, W, {wanted.channels}]" + (" or [H, W]" if wanted.channels == 1 else "")
    return (
        "[H, W] or [H, W, 1] (or RGB [H, W, 3])"
        if wanted.color == "grey"
        else "[H, W, 3] (or [H, W, 4], [H, W])"
    )
