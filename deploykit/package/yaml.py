"""YAML written from plain values, as Kubernetes, Ray and Compose read it.

PyYAML is not used, for two reasons. Packaging needs no extra, and PyYAML comes only with ``export``. And it
follows YAML 1.1: it leaves the texts ``1e3`` and ``0o10`` without quotes, which readers of YAML 1.2 take for
numbers. Here a text without quotes begins with a letter, ``_``, ``/`` or ``--`` and is not a word of either
version; the tests have PyYAML read back what is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["to_yaml"]

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@-]*(?:[:=][A-Za-z0-9_./@-]+)*")
"""Texts that mean themselves without quotes, unless they are one of the words below."""
_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "~"}


def to_yaml(*documents: Mapping[str, Any], comment: str = "") -> str:
    """The text of one or several documents, after a comment.

    >>> to_yaml({"name": "cat", "args": ["--port", "8080"]})
    'name: cat\\nargs:\\n  - --port\\n  - "8080"\\n'
    """
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return head + "---\n".join("".join(f"{line}\n" for line in _mapping(each)) for each in documents)


def _mapping(value: Mapping[str, Any], indent: str = "") -> Iterable[str]:
    for key, item in value.items():
        yield from _entry(f"{indent}{_text(key)}:", item, indent + "  ")


def _sequence(value: Sequence[Any], indent: str) -> Iterable[str]:
    for item in value:
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item, indent + "  ")
            yield f"{indent}- {first.removeprefix(indent + '  ')}"
            yield from rest
        else:
            yield from _entry(f"{indent}-", item, indent + "  ")


def _entry(head: str, value: Any, indent: str) -> Iterable[str]:
    if isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, indent)
    elif isinstance(value, list | tuple) and value:
        yield head
        yield from _sequence(value, indent)
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    return "{}" if isinstance(value, Mapping) else "[]"


def _text(text: str) -> str:
    option = text.removeprefix("--")  # which reads better without quotes, and needs none
    if _PLAIN.fullmatch(option) and text.lower() not in _WORDS and not text.startswith("---"):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"
