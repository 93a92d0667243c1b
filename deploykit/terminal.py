"""How commands print: aligned pairs, units, and JSON that is valid everywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import click

__all__ = ["as_json", "bad", "columns", "dim", "good", "pairs", "seconds", "size", "strong", "warning"]


def strong(text: str) -> str:
    return click.style(text, bold=True)


def good(text: str) -> str:
    return click.style(text, fg="green")


def bad(text: str) -> str:
    return click.style(text, fg="red")


def warning(text: str) -> str:
    return click.style(text, fg="yellow")


def dim(text: str) -> str:
    return click.style(text, dim=True)


def pairs(rows: Iterable[tuple[str, str | Sequence[str]]], *, indent: int = 2) -> list[str]:
    """Lines ``key  value`` with the values aligned; a sequence continues under its first line.

    Rows without a value are left out.
    """
    kept = [(key, [value] if isinstance(value, str) else list(value)) for key, value in rows if value]
    width = max((len(key) for key, _ in kept), default=0)
    margin = " " * indent
    lines = []
    for key, values in kept:
        label = f"{key:<{width}}"
        for value in values:
            lines.append(f"{margin}{dim(label)}  {value}")
            label = " " * width
    return lines


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """A table as lines; the first ``left`` columns are aligned left, the others right."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = []
    for row in table:
        cells = [
            f"{cell:<{width}}" if column < left else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    lines[0] = dim(lines[0])
    return lines


def seconds(value: float) -> str:
    """``12 ms`` below a second, ``3.4 s`` above."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def size(n: int) -> str:
    """A number of bytes in decimal units, as disks and networks count."""
    value = float(n)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def as_json(value: object) -> str:
    """Indented strict JSON: NaN and infinities become null, numpy and paths plain values."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
