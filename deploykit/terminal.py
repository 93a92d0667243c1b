"""How commands print: the only way out, with aligned pairs, units, and JSON that is valid everywhere.

Untrusted text (names in files, paths, messages of engines) is made printable here, so that no caller can
forget it. Our own colours are secret marks, which no file can imitate, until they are printed.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TextIO

import click
from deploykit_runtimes.text.printable import printable, printable_json

__all__ = [
    "as_json",
    "bad",
    "color",
    "columns",
    "dim",
    "draw",
    "duration",
    "echo",
    "echo_file",
    "echo_json",
    "echo_json_line",
    "good",
    "is_dumb",
    "is_terminal",
    "name",
    "pairs",
    "paragraph",
    "plain",
    "problem_lines",
    "seconds",
    "size",
    "strong",
    "warning",
]

_MARK = f"<{secrets.token_hex(8)}:"
"""Before the number of a colour or weight (SGR). It differs in each process, so that nobody can write it."""
_MARKS = re.compile(f"{_MARK}([0-9]+)>")
_MOST_OF_A_NAME = 120
_NARROWEST = 24
_COMMAND = re.compile(
    r"(?:deploykit (?:export|inspect|predict|verify|record|build|serve|package|bench|doctor|cpp|demo"
    r"|completion)\b"
    r"|pip (?:un)?install|docker |kubectl |curl |python -|cmake -|serve run).*",
    re.DOTALL,
)
"""From a command on, which stays in one line, so that it can be copied."""
_WORD = re.compile(r" *[^ ]+")
"""With the spaces before it, of which there may be several."""
_MOST_LINES = 1000
"""Of one key: a checkpoint can hold hundreds of settings, a forged file millions of notes."""


def echo(*lines: str, err: bool = False) -> None:
    """Print lines on stdout or stderr. Line ends inside a line are not ours, and are escaped."""
    _write("".join(f"{_rendered(line)}\n" for line in lines), err=err)


def echo_json(value: object) -> None:
    """Print a JSON document on stdout: exact data."""
    _write(as_json(value) + "\n", err=False)


def echo_json_line(value: object) -> None:
    """Print a JSON document in one line on stdout, for readers that expect many."""
    _write(as_json(value, indent=None) + "\n", err=False)


def echo_file(text: str) -> None:
    """Print one of deploykit's own files on stdout, unchanged."""
    _write(text, err=False)


def draw(text: str = "", *, before: str = "", after: str = "") -> None:
    """Write a part of a line on stderr.

    Args:
        text: What is shown.
        before, after: Our own control sequences around it.
    """
    _write(before + _rendered(text) + after, err=True)


def plain(text: str) -> str:
    """A line as ``echo`` prints it, but without colours."""
    return click.unstyle(_rendered(text))


def color() -> bool | None:
    """False where the user opted out (https://no-color.org) or the terminal has none, True where they insist
    (https://force-color.org), None to follow the stream."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if is_dumb() else None


def _write(text: str, *, err: bool) -> None:
    stream: TextIO | None = sys.stderr if err else sys.stdout
    if stream is None or stream.closed:  # as in a program without a console
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # A stream that lacks a letter shows its number.
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        click.echo(text, err=err, nl=False, color=color())
    except OSError as error:
        if err:  # that it takes no more can be told nowhere; the work goes on, and its exit code tells
            _silence_stderr()
        elif isinstance(error, BrokenPipeError):
            raise
        else:
            raise OSError(error.errno, error.strerror, "standard output") from error


def _silence_stderr() -> None:
    """Discard what a full stderr still buffers, since flushing it would fail when the interpreter ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stderr.fileno())
        os.close(null)


def is_dumb() -> bool:
    """Whether the terminal declares that it knows no control sequences, as in some editors."""
    return os.environ.get("TERM") == "dumb"


def is_terminal(*, err: bool = False) -> bool:
    """Whether stdout, or stderr, is a terminal."""
    stream: TextIO | None = sys.stderr if err else sys.stdout
    return stream is not None and not stream.closed and stream.isatty()


def _rendered(text: str) -> str:
    """The text made printable, with our marks replaced by escape sequences."""
    parts = _MARKS.split(text)
    parts[::2] = map(printable, parts[::2])
    parts[1::2] = (f"\x1b[{number}m" for number in parts[1::2])
    return "".join(parts)


def _styled(text: str, number: int) -> str:
    return f"{_MARK}{number}>{text}{_MARK}0>"


def strong(text: str) -> str:
    return _styled(text, 1)


def good(text: str) -> str:
    return _styled(text, 32)


def bad(text: str) -> str:
    return _styled(text, 31)


def warning(text: str) -> str:
    return _styled(text, 33)


def dim(text: str) -> str:
    return _styled(text, 2)


def pairs(rows: Iterable[tuple[str, str | Sequence[str]]], *, indent: int = 2) -> list[str]:
    """Lines ``key  value`` with the values aligned; a sequence continues under its first line.

    Rows without a value are left out. On a terminal long values are wrapped between words; commands are
    not, so that they can be copied.
    """
    kept = [
        (name(key), [value] if isinstance(value, str) else _several(value)) for key, value in rows if value
    ]
    width = max((len(key) for key, _ in kept), default=0)
    margin = " " * indent
    lines = []
    for key, values in kept:
        label = f"{key:<{width}}"
        for line in _wrapped(values, _columns() - indent - width - 2):
            lines.append(f"{margin}{dim(label)}  {line}")
            label = " " * width
    return lines


def paragraph(text: str, *, indent: int = 0, err: bool = False) -> list[str]:
    """A text as lines for stdout or stderr, wrapped on a terminal like the values of ``pairs``."""
    return [" " * indent + line for line in _wrapped([text], _columns(err=err) - indent)]


def problem_lines(problem: str, hint: str = "") -> list[str]:
    """An error and its next step as lines for stderr."""
    told = paragraph(f"{strong(bad('error:'))} {problem}", err=True)
    return [*told, *(paragraph(hint, indent=2, err=True) if hint else [])]


def _columns(*, err: bool = False) -> int:
    """The width of the terminal on stdout or stderr; None if there is no terminal."""
    return shutil.get_terminal_size().columns if is_terminal(err=err) else sys.maxsize


def _wrapped(values: Iterable[str], room: int) -> Iterator[str]:
    """The values in lines of at most ``room`` characters, with continuation lines indented; words are not
    split.
    """
    for value in values:
        if room < _NARROWEST or len(plain(value)) <= room:
            yield value
            continue
        command = _COMMAND.search(value)
        start = len(value[: command.start()].rstrip(" ")) if command else len(value)
        line, used = "", 0
        for word in filter(None, (*_WORD.findall(value[:start]), value[start:])):
            length = len(plain(word))
            if line and used + length > room:
                yield line
                line = f"  {word.lstrip(' ')}"
                used = len(plain(line))
            else:
                line, used = f"{line}{word}", used + length
        yield line


def _several(values: Sequence[str]) -> list[str]:
    more = len(values) - _MOST_LINES
    return [*values[:_MOST_LINES], f"... and {more:,} more"] if more > 0 else list(values)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """A table as lines; the first ``left`` columns are left-aligned, the others right-aligned.

    A table wider than the terminal is split into several parts, one below the other, each with the first
    columns.
    """
    table = [list(map(name, row)) for row in (header, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines: list[str] = []
    for part in _parts(widths, left, _columns()):
        picked = [[row[column] for column in part] for row in table]
        lines += ([""] if lines else []) + _aligned(picked, [widths[column] for column in part], left)
    return lines


def _parts(widths: Sequence[int], left: int, room: int) -> list[list[int]]:
    """The columns of each part of a table: the first ones, and as many others as fit."""
    own = list(range(min(left, len(widths))))
    parts = [[*own]]
    for column in range(len(own), len(widths)):
        part = [*parts[-1], column]
        if 2 + sum(widths[one] + 2 for one in part) - 2 > room and len(part) > len(own) + 1:
            parts.append([*own, column])
        else:
            parts[-1] = part
    return parts


def _aligned(table: Sequence[Sequence[str]], widths: Sequence[int], left: int) -> list[str]:
    lines = []
    for row in table:
        cells = [
            f"{cell:<{width}}" if column < left else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    lines[0] = dim(lines[0])
    return lines


def name(text: str) -> str:
    """A name for use inside a line: printable, and no longer than a line of a terminal."""
    return printable(text, _MOST_OF_A_NAME)


def seconds(value: float) -> str:
    """``12 ms`` below a second, ``3.4 s`` above."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def duration(value: float) -> str:
    """``12 s`` below a minute, ``3 min`` and ``1 h 20 min`` above."""
    if value < 60:
        return f"{math.ceil(value)} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(n: int) -> str:
    """A number of bytes in decimal units, as for disks and networks."""
    value = float(n)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def as_json(value: object, *, indent: int | None = 2) -> str:
    """Strict JSON, indented or in one line: NaN and infinities become null, numpy and paths plain values.

    The output is always UTF-8, and characters that a terminal could interpret are escaped.
    """
    return printable_json(json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False))


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
