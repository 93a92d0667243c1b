"""The pictures of a calibration folder."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.listing import SUFFIXES, list_images, natural_order

__all__ = ["folder_pictures"]


def folder_pictures(path: Path) -> list[Path]:
    """The picture files of a folder, in natural order.

    Args:
        path: A folder, whose sub-folders are searched where it holds no pictures itself, such as folders of
            classes; a picture; or a glob pattern.

    Raises:
        InputError: there are none.
    """
    if path.is_dir() and not any(_is_picture(item) for item in path.iterdir()):
        found = [item for item in path.rglob("*") if _is_picture(item)]
        if found:
            return sorted(found, key=natural_order)
    try:
        return list_images(path)
    except InputError as error:
        raise InputError(
            f"--calib: {error.problem}",
            hint="Give a folder of pictures like those that the model is going to see.",
        ) from error


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()
