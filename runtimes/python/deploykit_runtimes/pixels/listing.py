"""Files, folders and glob patterns as a list of image files."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from deploykit_runtimes.errors import InputError

__all__ = ["SUFFIXES", "list_images", "natural_order", "near_name", "no_image"]

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg"}
    | {".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)


def list_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Expand files, folders and glob patterns into image files, each of them once.

    A file is taken as it is; of a folder, the files with a known image suffix, sub-folders not
    included; of a pattern (``**`` allowed), the same. Folders and patterns come in natural order:
    ``img2`` before ``img10``.

    Arrays (.npy) are taken from a folder that holds no images, and by a pattern that ends so: Ultralytics
    keeps copies of the images in such files beside them.

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
        more = f"Its sub-folders are not searched; to include them: '{path}/**/*'" if inside else suffixes
        raise InputError(f"The folder {path} holds no images.", hint=more)
    if glob.has_magic(str(path)):
        raise InputError(f"No image matches {path}.", hint=suffixes)
    raise no_image(path)


def no_image(path: Path) -> InputError:
    """The error for a path that is not a file: what lies there instead, or a name that is near."""
    if path.exists():
        return InputError(f"{path} is a pipe, socket or device, wanted an image.")
    return InputError(f"Image {path} does not exist.", hint=near_name(path))


def near_name(path: Path) -> str:
    """``Did you mean ...?`` for a file that is not there; empty when no name is near."""
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=2)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    candidates = path.iterdir() if path.is_dir() else map(Path, glob.iglob(str(path), recursive=True))  # noqa: PTH207, Path.glob takes no absolute pattern
    files = [item for item in candidates if item.is_file()]
    images = [item for item in files if item.suffix.lower() in SUFFIXES]
    return sorted(images or [item for item in files if item.suffix.lower() == ".npy"], key=natural_order)


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """A key to sort by: ``img2`` before ``img10``."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
