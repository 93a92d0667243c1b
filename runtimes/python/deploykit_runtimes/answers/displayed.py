"""What every result can do besides holding its numbers: be drawn, shown, saved, and become rows."""

from __future__ import annotations

import io
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deploykit_runtimes.answers.page import result_page
from deploykit_runtimes.errors import DependencyError, InputError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.pixels.images import ImageSource, drawable
from deploykit_runtimes.pixels.picture import Picture

__all__ = ["Displayed", "canvas_pixels", "frozen"]

_NOTEBOOK_SIDE = 1024
"""Longest side of a picture in a notebook, in pixels; its file keeps what is put there."""

_FEW = 5
_FORMATS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Displayed(ABC):
    """Base of every result. What it needs: the size of the image, and the picture where it was kept."""

    image_size: tuple[int, int]
    picture: Picture | None

    @property
    def source(self) -> str:
        """The path or URL of the picture, as it was given; empty for arrays, bytes and Pillow images."""
        return "" if self.picture is None else self.picture.name

    @abstractmethod
    def plot(self, image: ImageSource | None = None) -> np.ndarray:
        """The image with the answers drawn, uint8 RGB [H, W, 3].

        Args:
            image: What to draw into; None: the picture that was given to ``predict``.

        Raises:
            InputError: it has another size than the one predicted on, changed since, or is gone.
        """

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """The answers as flat rows of plain values, best first; the column ``image`` is ``source``."""

    @abstractmethod
    def columns(self) -> list[str]:
        """The keys of a row."""

    @abstractmethod
    def _told(self) -> Iterator[str]:
        """Each answer in a few words."""

    @abstractmethod
    def __len__(self) -> int: ...

    def show(self, image: ImageSource | None = None) -> None:
        """Show the drawn picture: in a notebook as output, elsewhere in the system's viewer of pictures.

        Args:
            image: See ``plot``.

        Raises:
            RuntimeUnavailableError: there is no display, or no viewer.
            InputError: see ``plot``.
        """
        picture = Image.fromarray(self.plot(image))
        if (display := _notebook_display()) is not None:
            display(picture)
            return
        if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & {
            name for name, value in os.environ.items() if value
        }:
            raise _not_shown("There is no display to show a picture on.")
        from PIL import ImageShow

        if not ImageShow.show(picture, title=self.source or type(self).__name__):
            raise _not_shown("Pillow finds no viewer of pictures on this system.")

    def save(self, path: str | os.PathLike[str], image: ImageSource | None = None) -> Path:
        """Write the drawn picture to a file, in the format of its ending. A file there is replaced.

        Args:
            path: Where to; never the picture itself.
            image: See ``plot``.

        Returns:
            The file.

        Raises:
            OptionError: the ending names no format of pictures, or the target is the picture itself, a
                folder, or cannot be written.
            InputError: see ``plot``.
        """
        from deploykit_runtimes.files import atomic_path

        target = Path(path).expanduser()
        Image.init()
        if (
            target.suffix.lower() not in _FORMATS
            or target.suffix.lower() not in Image.registered_extensions()
        ):
            raise OptionError(
                f"save() wants a name with the suffix of a picture format, found {target.name!r}.",
                hint=f"Such as {target.stem or 'result'}.jpg; the formats are {' '.join(_FORMATS)}.",
            )
        source = None if self.picture is None else self.picture.path
        if source is not None and os.path.realpath(source) == os.path.realpath(target):
            raise OptionError(
                f"save() would replace the picture itself, {target}.", hint="Give another name."
            )
        picture = Image.fromarray(self.plot(image))
        with atomic_path(target) as draft:
            picture.save(draft, quality=95)
        return target

    def to_pandas(self) -> Any:
        """The rows as a ``pandas.DataFrame``; without any answer, an empty one with the same columns.

        Raises:
            DependencyError: pandas is not installed; ``rows`` needs nothing.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise DependencyError(
                f"to_pandas() needs the package pandas, which cannot be imported: {error}.",
                hint="Install it with: pip install pandas; result.rows() gives the same as a list of dicts.",
            ) from error
        return pandas.DataFrame(self.rows(), columns=self.columns())

    def __repr__(self) -> str:
        height, width = self.image_size
        few = [text for _, text in zip(range(_FEW), self._told(), strict=False)]
        more = f", {len(self) - len(few)} more" if len(self) > len(few) else ""
        of = f" of {self.source}" if self.source else ""
        return (
            f"{type(self).__name__}({', '.join(few) or 'nothing found'}{more}){of}, {width}x{height} pixels"
        )

    def _repr_png_(self) -> bytes | None:
        """The drawn picture for notebooks; None where it cannot be drawn, which ``_repr_html_`` explains."""
        try:
            return _png(self.plot())
        except InputError:
            return None

    def _repr_html_(self) -> str:
        """The drawn picture over a table, for notebooks."""
        png, problem = None, ""
        try:
            png = _png(self.plot())
        except InputError as error:
            problem = str(error).replace("\n", "")
        rows = [{name: value for name, value in row.items() if name != "image"} for row in self.rows()]
        height, width = self.image_size
        name = self.source.rpartition("/")[2] or "an image"
        title = f"{type(self).__name__}: {len(self)} in {name}, {width}x{height} pixels"
        return result_page(title, rows, png, problem)


def _not_shown(problem: str) -> RuntimeUnavailableError:
    return RuntimeUnavailableError(
        problem,
        hint='Write it to a file: result.save("result.jpg"). In a notebook, end a cell with the result.',
    )


def _notebook_display() -> Any:
    """What shows an object in the notebook that this runs in; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return None
    return import_module("IPython.display").display


def _png(pixels: np.ndarray) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_NOTEBOOK_SIDE, _NOTEBOOK_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def canvas_pixels(result: Displayed, image: ImageSource | None) -> np.ndarray:
    """What a result is drawn into, uint8 RGB [H, W, 3].

    Raises:
        InputError: it has another size, changed since, or is gone.
    """
    if image is None:
        if result.picture is None:
            raise InputError(
                "The result does not know its picture.",
                hint="Give the picture to draw into: result.plot(image).",
            )
        image = result.picture.source()
    pixels, size = drawable(image), result.image_size
    if pixels.shape[:2] != size:
        raise InputError(
            f"The result belongs to a {size[0]}x{size[1]} image, found {pixels.shape[0]}x{pixels.shape[1]}.",
            hint="Plot into the image that was given to predict().",
        )
    return pixels


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only array; a copy unless it is one already."""
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array
