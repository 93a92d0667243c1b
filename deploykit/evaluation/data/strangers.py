"""Limits of what files of labels may name and hold: they come from strangers, as model files do."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from deploykit_runtimes.contract.limits import NAMES
from deploykit_runtimes.errors import InputError

__all__ = [
    "LARGEST_JSON",
    "LARGEST_LABELS",
    "LARGEST_TEXT",
    "MOST_NAMES",
    "MOST_OBJECTS",
    "exists",
    "is_exact",
    "nearest",
    "read_text",
]

LARGEST_TEXT = 256 << 20
"""Bytes of a list of pictures: one of ImageNet's 1.28 million takes 50 to 150 MB."""
LARGEST_LABELS = 16 << 20
"""Bytes of the labels of one picture, and of a data.yaml."""
LARGEST_JSON = 2 << 30
"""Bytes of COCO's JSON: that of its 118,000 pictures to train on takes 450 MB."""
MOST_NAMES = NAMES
"""Classes of a data set, as of a model."""
MOST_OBJECTS = 10_000
"""Labelled objects of one picture: each is compared with every detection, and each outline is painted."""
_LARGEST_EXACT = 1 << 60
_LONGEST_GUESSED, _MOST_GUESSED = 120, 25_000
_MARK = b"\xef\xbb\xbf"


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        InputError: it is not a regular file, larger than any such file, or not UTF-8.
    """
    if exists(path, path) and not path.is_file():
        raise InputError(f"{path} is not a regular file.", hint="Devices and pipes are not read.")
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise InputError(f"{path} has more than {largest >> 20} MB, which no such file needs.")
        return content.removeprefix(_MARK).decode()
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}.") from error


def exists(path: Path, source: Path) -> bool:
    """Whether there is a file or folder of this name, which a file of labels gives.

    Args:
        path: The name.
        source: The file of labels.

    Raises:
        InputError: no file can have that name, because it is too long, or not text.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        if isinstance(error, NotADirectoryError | PermissionError):
            return False
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{source} names {str(path)[:60]!r}, which cannot be a file: {reason}.") from error
    return True


def is_exact(value: object) -> bool:
    """Whether a number is whole, and so small that no other one has its hash: as ids are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_LARGEST_EXACT < value < _LARGEST_EXACT and value == int(value)


def nearest(word: str, known: Sequence[str]) -> str:
    """The name that a wrong one may be meant to be, or "". Long words and lists are not searched."""
    if len(word) > _LONGEST_GUESSED or len(known) > _MOST_GUESSED:
        return ""
    likely = [name for name in known if len(name) <= _LONGEST_GUESSED]
    return next(iter(get_close_matches(word, likely, n=1)), "")
