"""Settings saved as a list or as one line: a command line, overrides of Hydra, pairs, records."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["listed", "one_line"]

_ASSIGNED = re.compile(r"[+~]{0,2}([A-Za-z_][\w.@/-]*)=(.*)", re.DOTALL)
_FLAG = re.compile(r"--?([A-Za-z][\w.-]*)(?:=(.*))?", re.DOTALL)
_NAMED = re.compile(r"[A-Za-z_][\w.-]*")
_NAMESPACE = re.compile(r"(?:argparse\.)?Namespace\((.*)\)|(\{.*\})", re.DOTALL)
_KEYS, _VALUES = ("name", "key", "param", "parameter", "option"), ("value", "val", "default")
_WORDS = {"true": True, "false": False, "none": None, "null": None}
_LONGEST_LINE = 1 << 16


def listed(values: Sequence[Any]) -> Mapping[str, Any] | None:
    """The settings in a list, by name; None for a list of other things.

    Accepted forms are ``["num_heads=6"]``, ``["--num-heads", "6"]``, ``[["num_heads", 6]]``,
    ``[{"num_heads": 6}]`` and ``[{"name": "num_heads", "value": 6}]``. A name with dots is nested:
    ``model.num_heads=6``.
    """
    if not values:
        return None
    for read in (_assigned, _arguments, _pairs, _records):
        found = list(read(values))
        if found:
            return _nested(found)
    return None


def one_line(text: str) -> Mapping[str, Any] | None:
    """The settings in one line: a command line, assignments, or the text of a Namespace or a dictionary."""
    if len(text) > _LONGEST_LINE:
        return None
    inside = _NAMESPACE.fullmatch(text.strip())
    if inside is not None:
        return _literal(f"dict({inside[1]})" if inside[1] is not None else inside[2])
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and all(re.fullmatch(r"\s*[A-Za-z_][\w.-]*\s*[=:]\s*[^\s=].*", line) for line in lines):
        parts = (re.split(r"\s*[=:]\s*", line.strip(), maxsplit=1) for line in lines)
        found = [(name, _value(value)) for name, value in parts if " " not in value and "," not in value]
        if len(found) == len(lines):
            return _nested(found)
    try:
        tokens = shlex.split(text.replace(",", " ") if "=" not in text and "--" not in text else text)
    except ValueError:
        return None
    tokens = [token.rstrip(",") for token in tokens]
    joined = [f"{name[:-1]}={value}" for name, value in zip(tokens[::2], tokens[1::2], strict=False)]
    if len(tokens) > 1 and all(token.endswith(":") for token in tokens[::2]) and len(tokens) % 2 == 0:
        return listed(joined)
    return listed(tokens)


def _assigned(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    matches = [_ASSIGNED.fullmatch(one) if isinstance(one, str) else None for one in values]
    if all(matches):
        yield from ((match[1], _value(match[2])) for match in matches if match)


def _arguments(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The flags of a command line, each with the words up to the next flag."""
    if not all(isinstance(one, str | int | float) for one in values):
        return
    flags: list[tuple[str, list[str]]] = []
    for one in map(str, values):
        match = _FLAG.fullmatch(one)
        if match is not None and one.startswith("--"):
            flags.append((match[1].replace("-", "_"), [] if match[2] is None else [match[2]]))
        elif flags:
            flags[-1][1].append(one)
    for name, given in flags:
        found = [_value(one) for one in given]
        yield name, True if not found else found[0] if len(found) == 1 else found


def _pairs(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    pairs = [one for one in values if isinstance(one, list | tuple) and len(one) == 2]
    names = [one[0] for one in pairs if isinstance(one[0], str) and _NAMED.fullmatch(one[0])]
    if len(set(names)) == len(values):
        yield from ((name, value) for name, value in pairs)


def _records(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Objects with a name and a value, or with one entry each."""
    if not all(isinstance(one, Mapping) for one in values):
        return
    found: list[tuple[str, Any]] = []
    for one in values:
        name = next((one[key] for key in _KEYS if isinstance(one.get(key), str)), None)
        value = next((key for key in _VALUES if key in one), None)
        if name is not None and value is not None and len(one) <= 3:
            found.append((name, one[value]))
        elif len(one) == 1 and isinstance(next(iter(one)), str):
            found += one.items()
        else:
            return
    if len({name for name, _ in found}) == len(values):
        yield from found


def _nested(found: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The settings by name, with dotted names turned into nesting."""
    settings: dict[str, Any] = {}
    for name, value in found:
        *places, last = re.split(r"[./]", name)
        at = settings
        for place in places:
            inside = at.get(place)
            at[place] = at = inside if isinstance(inside, dict) else {}
        at[last] = value
    return settings


def _value(text: str) -> Any:
    """The value of a word on a command line: a number, a list, true or false, or the word itself."""
    if text.strip().lower() in _WORDS:
        return _WORDS[text.strip().lower()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip("'\"")


def _literal(text: str) -> Mapping[str, Any] | None:
    """The entries of a dictionary written in Python's literal syntax."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if isinstance(tree, ast.Call):
        pairs = [(keyword.arg, keyword.value) for keyword in tree.keywords]
    elif isinstance(tree, ast.Dict):
        pairs = [
            (getattr(key, "value", None), value) for key, value in zip(tree.keys, tree.values, strict=True)
        ]
    else:
        return None
    found: dict[str, Any] = {}
    for name, node in pairs:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, RecursionError, MemoryError, SyntaxError):
            value = None
        if isinstance(name, str):
            found[name] = value
    return found or None
