"""What was found instead of what was wanted, in a few words, whatever it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

__all__ = ["changed_fields", "described"]

_LONGEST = 80
"""Characters of a value that is quoted. A state dict alone would fill 176,000."""

_QUOTED = (str, bytes, int, float, complex, PurePath, type(None))
_SEVERAL = (list, tuple, Set, Mapping)


def described(value: object) -> str:
    """A value for the ``found ...`` of a message: quoted where it is short and plain, else told by its type.

    >>> described("224x")
    "'224x'"
    >>> described({"a": object()})
    'a dict of 1 entry'
    """
    if isinstance(value, _QUOTED) or (isinstance(value, _SEVERAL) and _plain(value)):
        text = repr(value)
        if len(text) <= _LONGEST:
            return text
    if isinstance(value, str | bytes):
        return f"{value[: _LONGEST // 2]!r}... ({len(value):,} characters)"
    return _with_article(_type_name(value)) + _extent(value)


def changed_fields(options: Any) -> str:
    """A dataclass of options as its constructor takes it, without what is as by default.

    >>> @dataclasses.dataclass
    ... class Options:
    ...     batch: int = 1
    ...     masks: bool = False
    >>> changed_fields(Options(batch=8))
    'Options(batch=8)'
    """
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    changed = [
        f"{field.name}={_path_or_described(values[field.name])}"
        for field in dataclasses.fields(options)
        if values[field.name] != field.default
    ]
    return f"{type(options).__name__}({', '.join(changed)})"


def _path_or_described(value: object) -> str:
    return repr(value) if isinstance(value, PurePath) else described(value)


def _plain(value: object) -> bool:
    """Whether all in a collection is quoted, one level deep or two, and there is little of it."""
    items = [*value, *value.values()] if isinstance(value, Mapping) else list(value)  # type: ignore[call-overload]
    return len(items) <= 8 and all(isinstance(item, _QUOTED) for item in items)


def _type_name(value: object) -> str:
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    return (
        kind.__qualname__
        if module in ("builtins", "collections", "__main__")
        else f"{module} {kind.__name__}"
    )


def _extent(value: object) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None and not isinstance(value, type):
        return f" of shape {tuple(shape)}" if isinstance(shape, tuple) else ""
    if isinstance(value, _SEVERAL):
        count = len(value)
        return f" of {count:,} entr{'y' if count == 1 else 'ies'}"
    return ""


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"
