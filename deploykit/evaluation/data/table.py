"""A list with one picture and its class per line: CSV, tabs, or a space between them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError, OptionError
from deploykit_runtimes.pixels.listing import SUFFIXES

from deploykit.evaluation.data.classes import Matching, by_name
from deploykit.evaluation.data.strangers import exists, read_text
from deploykit.evaluation.data.truth import Dataset, Sample

__all__ = ["read_class_list", "read_lines"]

_DIGITS = 18
_FORM = "Each line holds the path of a picture and its class, a name or a number: cats/1.jpg,cat"


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"The list {path} is empty.", hint=_FORM)
    return lines


def read_class_list(path: Path, spec: ModelSpec, matching: Matching) -> Dataset:
    """Read a list. Paths are relative to it; a first line that names the columns is skipped.

    Args:
        path: The list.
        spec: The model, a classifier.
        matching: ``order``: classes are numbers, even if the model has names that look like numbers.

    Raises:
        InputError: a line has no class.
        OptionError: a class is not one of the model's.
    """
    try:
        rows = [_cells(line) for line in read_lines(path)]
    except csv.Error as error:
        raise InputError(f"The list {path} cannot be read: {error}.", hint=_FORM) from error
    if len(rows[0]) >= 2 and Path(rows[0][0]).suffix.lower() not in SUFFIXES:
        rows = rows[1:]
    for line, row in enumerate(rows, start=1):
        if len(row) < 2 or not row[1]:
            raise InputError(f"Picture {line} of {path}, {row[0]!r}, has no class.", hint=_FORM)
        exists(path.parent / row[0], path)
    if not rows:
        raise InputError(f"The list {path} names no pictures.", hint=_FORM)
    words = list(dict.fromkeys(row[1] for row in rows))
    numbers = _numbers(words, spec, matching, str(path))
    samples = tuple(
        Sample(path=path.parent / row[0], truth=numbers[row[1]], number=number)
        for number, row in enumerate(rows)
    )
    return Dataset(source=path, kind="a list of classes", protocol="classify", samples=samples)


def _cells(line: str) -> list[str]:
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in line), None)
    if delimiter is None:
        return [cell.strip() for cell in line.rstrip().rsplit(maxsplit=1)]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _numbers(words: Sequence[str], spec: ModelSpec, matching: Matching, source: str) -> dict[str, int]:
    """The class of each word. Names take precedence over numbers: the classes of digits are called 0 to 9."""
    named = bool(spec.classes) and set(words) <= set(spec.classes)
    counted = all(len(word) <= _DIGITS and word.isascii() and word.isdecimal() for word in words)
    if counted and (matching == "order" or not named):
        beyond = [word for word in words if spec.num_classes and int(word) >= spec.num_classes]
        if beyond:
            raise OptionError(
                f"{source} has class {beyond[0]}, the model has classes 0 to {spec.num_classes - 1}.",
                hint="Classes are counted from 0; a list that counts from 1 is one too high throughout.",
            )
        return {word: int(word) for word in words}
    found = by_name(words, spec, source)
    return {word: found[place] for place, word in enumerate(words)}
