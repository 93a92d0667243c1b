"""What decoding a picture will cost, read from its header, and a limit on what is in memory at once."""

from __future__ import annotations

import asyncio
import io
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from deploykit_runtimes.errors import DependencyError, InputError
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.pixels.bands import looks_like_tiff, tiff_shape
from deploykit_runtimes.pixels.npy import is_npy, npy_shape
from PIL import Image, UnidentifiedImageError

from deploykit.protocol.errors import MediaTypeError, TooLargeError

__all__ = ["PixelBudget", "check_picture", "pixel_budget"]

_CORES_PER_PICTURE = 4
"""Of the most pixels there may be, so that many cores decode photos side by side."""

_FORMATS = frozenset(
    {"AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
)
"""What Pillow may decode here. It knows others, of which PostScript is run by another program."""

_MAX_SCANS = 100
"""Of a JPEG file. Each walks over every block, for as little as 50 bytes; encoders write about ten."""

_END, _START_OF_SCAN = 0xD9, 0xDA
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""The end of the file, or a marker with a segment behind it: no restart, and no byte of the pixels."""


class PixelBudget:
    """Limits the pixels in memory at once: those who need more wait, in order. For one event loop.

    Args:
        limit: The largest number of pixels; one picture may take all of them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """The number of pictures that wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Reserve that many pixels for the duration of the block."""
        wanted = min(pixels, self._limit)
        if self._waiting or wanted > self._free:
            await self._turn(wanted)
        else:
            self._free -= wanted
        try:
            yield
        finally:
            self._give(wanted)

    async def _turn(self, wanted: int) -> None:
        entry = (wanted, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            await entry[1]
        except asyncio.CancelledError:
            if entry[1].cancelled():
                self._waiting.remove(entry)
                self._give(0)
            else:
                self._give(wanted)
            raise

    def _give(self, pixels: int) -> None:
        self._free += pixels
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting[0]
            if turn.cancelled():  # it removes itself
                return
            self._waiting.popleft()
            self._free -= wanted
            turn.set_result(None)


_budgets: WeakKeyDictionary[asyncio.AbstractEventLoop, PixelBudget] = WeakKeyDictionary()


def pixel_budget(max_pixels: int) -> PixelBudget:
    """The single budget of the running event loop, shared by all models of a process.

    Args:
        max_pixels: The largest number of pixels of one picture.
    """
    loop = asyncio.get_running_loop()
    if loop not in _budgets:
        _budgets[loop] = PixelBudget(max_pixels * max(2, usable_cores() // _CORES_PER_PICTURE))
    return _budgets[loop]


def check_picture(image: bytes, limit: int) -> int:
    """Refuse a picture by what its header declares, at almost no cost.

    Returns:
        The number of pixels.

    Raises:
        TooLargeError: it has more than ``limit`` pixels, or takes far more work to decode than pictures
            usually do.
        MediaTypeError: its format cannot be decoded here.
        InputError: it is not a picture.
    """
    height, width = _declared_size(image, limit)
    if width * height > limit:
        raise TooLargeError(f"A picture has at most {limit} pixels here, found {width}x{height}.")
    if image[:2] == b"\xff\xd8" and _has_too_many_scans(image):
        raise TooLargeError(f"A JPEG file has at most {_MAX_SCANS} scans here, this one has more.")
    return width * height


def _declared_size(image: bytes, limit: int) -> tuple[int, int]:
    """Height and width."""
    if is_npy(image):
        height, width, *_ = (*npy_shape(image), 1, 1)
        return height, width
    name = f"The {len(image)} bytes"
    Image.init()
    formats = [each for each in Image.ID if each in _FORMATS]
    try:
        with Image.open(io.BytesIO(image), formats=formats) as picture:
            return picture.height, picture.width
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(f"A picture has at most {limit} pixels here, this one has far more.") from error
    # ImportError: of a decoder that another package of the process registered, such as Ultralytics' for HEIF.
    except (UnidentifiedImageError, ImportError) as error:
        if looks_like_tiff(io.BytesIO(image)):
            return _tiff_size(image, name)
        raise InputError(f"{name} are not a picture of a known format.") from error
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
        raise InputError(f"{name} cannot be read as a picture: {error}.") from error


def _tiff_size(image: bytes, name: str) -> tuple[int, int]:
    try:
        return tiff_shape(io.BytesIO(image), name)[:2]
    except DependencyError as error:  # the server's operator may install it; the client can send another file
        raise MediaTypeError(f"{name} are a TIFF file of a kind that is not decoded here.") from error


def _has_too_many_scans(image: bytes) -> bool:
    """Whether the markers of a JPEG file announce more scans than this server decodes."""
    count, position = 0, 2
    while found := _MARKER.search(image, position):
        marker, position = image[found.start() + 1], found.end()
        if marker == _END:
            break
        if marker == _START_OF_SCAN:
            count += 1
            if count > _MAX_SCANS:
                return True
        # Behind a head are its own bytes, which may look like markers; those of a scan's pixels may not.
        position += int.from_bytes(image[position : position + 2], "big")
    return False
