"""Files of class names, in the forms that training codes and data sets use.

Text with a name per line, with or without its index; CSV; TensorFlow's .pbtxt; JSON and YAML: lists,
mappings in either direction, Ultralytics' ``names``, transformers' ``id2label``, COCO's ``categories``,
Keras' ``imagenet_class_index.json``. Ambiguous files are refused, never guessed.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.text.printable import one_line

__all__ = ["LARGEST", "names_from", "parse_settings", "read_labels", "read_text"]

LARGEST = 16 << 20
"""Bytes of a file of names or settings: 21,000 classes of ImageNet take less than 1 MB."""

_LONGEST = 1000
"""Characters of a line: a name."""

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_KEYS = ("names", "id2label", "class_to_idx", "categories", "label_names", "classes", "labels")
_HEADER = {
    "id",
    "idx",
    "index",
    "class",
    "class_id",
    "label",
    "label_id",
    "name",
    "names",
    "category",
    "number",
}
# Blanks can be divided in one way only: a line of blanks must not take the square of its length.
_FIRST = re.compile(r"(\d+)(?:\s*[,;:]\s*|[.)]\s+|\s+)(\S.*)")
_LAST = re.compile(r"(.*\S)(?:\s*[,;:]\s*|\s+)(\d+)")
_WORDNET = re.compile(r"n\d{8}")
_ITEM = re.compile(r"item\s*\{([^{}]*)\}")
_FORMS = "One name per line, a JSON list of names, or an object from index to name."


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names in index order.

    Raises:
        OptionError: the file cannot be read, or is ambiguous.
    """
    text = read_text(path, "--labels")
    if path.suffix in (".json", ".yaml", ".yml"):
        names = names_from(parse_settings(text, path, "--labels"))
    elif path.suffix == ".pbtxt":
        names = _from_items(text)
    elif text.strip()[:1] + text.strip()[-1:] in ("{}", "[]"):  # as Python prints a dictionary or a list
        names = names_from(parse_settings(text, path, "--labels"))
    else:
        names = _from_lines([line.strip() for line in text.splitlines() if line.strip()])
    if not names:
        raise OptionError(f"--labels {path} wants class names, found none.", hint=_FORMS)
    return names


def names_from(value: Any) -> tuple[str, ...]:
    """Class names in index order, from parsed JSON or YAML; empty if it holds none.

    Raises:
        OptionError: indices are missing or repeated, or a name is not a text.
    """
    if isinstance(value, Mapping):
        inner = next((value[key] for key in _KEYS if isinstance(value.get(key), Mapping | list)), None)
        if inner is not None:
            return names_from(inner)
        indexed = _by_index(value)
        if sorted(indexed) != list(range(len(indexed))):
            raise OptionError(
                f"--labels wants the indices 0 to {len(indexed) - 1}, found {_some(sorted(indexed))}.",
                hint="Every index stands for one class, and none may be left out.",
            )
        return tuple(indexed[index] for index in range(len(indexed)))
    if not isinstance(value, list):
        return ()
    if value and all(isinstance(entry, Mapping) for entry in value):
        return _from_categories(value)
    return tuple(map(_name, value))


def _from_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Lines of names, possibly with an index before or after each name, and a header."""
    if any(len(line) > _LONGEST for line in lines):
        raise OptionError(f"--labels has a line of more than {_LONGEST} characters.", hint=_FORMS)
    for pattern, order in ((_FIRST, (1, 2)), (_LAST, (2, 1))):
        body = lines[1:] if lines and _is_header(lines[0]) else lines
        found = [pattern.fullmatch(line) for line in body]
        rows = [(int(match[order[0]]), match[order[1]].strip(" \t\"'")) for match in found if match]
        if not rows or len(rows) < len(body):
            continue
        indices = sorted(index for index, _ in rows)
        if indices == list(range(len(rows))):
            return tuple(name for _, name in sorted(rows))
        if pattern is _FIRST or len(set(indices)) == len(rows) > 1:
            raise OptionError(
                "--labels: each line has a number, which may be an index or a part of the name: "
                f"{lines[0]!r}. As indices they would be 0 to {len(rows) - 1}, found {_some(indices)}.",
                hint='Give a JSON list of the names: ["cat", "dog"], or an object: {"0": "cat", "1": "dog"}.',
            )
    if len(lines) > 1 and all(_WORDNET.match(line) and len(line) > 10 for line in lines):
        return tuple(line.partition(line[9])[2].strip() for line in lines)
    return tuple(lines)


def _is_header(line: str) -> bool:
    """Whether a line names the columns of an index and a name."""
    cells = [cell.strip().lower() for cell in re.split(r"[,;\t]", line)]
    return len(cells) > 1 and all(cell in _HEADER for cell in cells)


def _from_items(text: str) -> tuple[str, ...]:
    """TensorFlow's label map: ``item { id: 1 name: 'cat' }``, with indices from 1."""
    rows = {}
    for item in _ITEM.findall(text):
        index = re.search(r"\bid\s*:\s*(\d{1,9})(?!\d)", item)
        quoted = re.search(r"\bdisplay_name\s*:\s*(['\"])(.*?)\1", item) or re.search(
            r"\bname\s*:\s*(['\"])(.*?)\1", item
        )
        if index and quoted:
            rows[int(index[1])] = quoted[2]
    first = min(rows, default=1)
    if first > 1 or sorted(rows) != list(range(first, first + len(rows))):
        raise OptionError(
            f"--labels wants the ids 1 to {len(rows)} in a .pbtxt file, found {_some(sorted(rows))}.",
            hint="A JSON list of the names in the order of the classes says what is meant.",
        )
    return tuple(rows[index] for index in sorted(rows))


def _from_categories(entries: Sequence[Mapping[Any, Any]]) -> tuple[str, ...]:
    """COCO's categories, which training codes number in the order of their ids."""
    if not all({"id", "name"} <= entry.keys() and isinstance(entry["id"], int) for entry in entries):
        raise OptionError("--labels: the objects of a list of categories have an id and a name.", hint=_FORMS)
    ordered = sorted(entries, key=lambda entry: int(entry["id"]))
    return tuple(_name(entry["name"]) for entry in ordered)


def _by_index(value: Mapping[Any, Any]) -> dict[int, str]:
    """``{"0": "cat"}`` as in YOLO data files, or ``{"cat": 0}`` as in torchvision's ``class_to_idx``."""
    for pairs in (list(value.items()), [(index, name) for name, index in value.items()]):
        if all(_is_index(index) for index, _ in pairs):
            found = {int(index): _name(name) for index, name in pairs}
            if len(found) < len(pairs):
                raise OptionError("--labels gives one index to several classes.")
            return found
    strange = [f"{key!r}: {name!r}"[:60] for key, name in value.items()]
    raise OptionError(
        f"--labels wants an object from class index to name, or from name to index, found {_some(strange)}.",
        hint='For instance {"0": "cat", "1": "dog"}; or a list of names in the order of the classes.',
    )


def _is_index(value: object) -> bool:
    return (
        not isinstance(value, bool)
        and str(value).isascii()
        and str(value).isdecimal()
        and len(str(value)) < 10
    )


def _name(value: Any) -> str:
    """A name, or the second part of Keras' pair of WordNet id and name.

    Raises:
        OptionError: it is neither of these.
    """
    if isinstance(value, list) and len(value) == 2 and _WORDNET.fullmatch(str(value[0])):
        value = value[1]
    if isinstance(value, bool):
        raise OptionError(
            f"--labels wants names, found {value} among them: yes, no, on and off are not text in YAML.",
            hint='Put such names into quotes: "no".',
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(
            f"--labels wants names, found {value} among them, which is neither text nor a number.",
            hint='Put such names into quotes: "NaN".',
        )
    if isinstance(value, str | int | float):
        return str(value)
    raise OptionError(f"--labels wants names, found {str(value)[:60]!r} among them.", hint=_FORMS)


def _some(values: Iterable[object]) -> str:
    shown = list(map(str, values))
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")


def parse_settings(text: str, path: Path, option: str) -> Any:
    """Parsed JSON or YAML, chosen by the file's name.

    Raises:
        OptionError: it is not valid.
    """
    from deploykit_exporters.containers.texts import parse_json, parse_yaml

    try:
        return parse_json(text) if path.suffix == ".json" else parse_yaml(text)
    except ValueError as error:
        raise OptionError(f"{option} {path} cannot be parsed: {one_line(error)}") from error


def read_text(path: Path, option: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark; the mark is removed.

    Raises:
        OptionError: it is missing, too large, or not text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise OptionError(f"{option} {path} has more than {LARGEST >> 20} MB, which no such file needs.")
        encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise OptionError(
            f"{option} {path} cannot be read: it is not text in UTF-8.",
            hint="Save it as UTF-8, or as UTF-16 with a byte-order mark.",
        ) from error
    except OSError as error:
        raise OptionError(f"{option} {path} cannot be read: {error.strerror}.") from error
