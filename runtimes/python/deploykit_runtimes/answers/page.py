"""A result as HTML, for notebooks: the drawn picture over a table of what was found."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

from deploykit_runtimes.text.printable import printable

__all__ = ["result_page"]

_MOST_ROWS = 20


def result_page(title: str, rows: Sequence[Mapping[str, object]], png: bytes | None, problem: str) -> str:
    """One element of HTML without scripts or styles of its own.

    Args:
        title: The line above.
        rows: What was found, each with the same keys.
        png: The drawn picture, if there is one.
        problem: Why there is none.
    """
    parts = [f"<p><b>{_shown(title)}</b></p>"]
    if png is not None:
        data = base64.b64encode(png).decode()
        parts.append(f'<img alt="{_shown(title)}" style="max-width:100%" src="data:image/png;base64,{data}">')
    elif problem:
        parts.append(f"<p>{_shown(problem)}</p>")
    if rows:
        parts.append(_table(rows[:_MOST_ROWS]))
    if len(rows) > _MOST_ROWS:
        parts.append(f"<p>{len(rows) - _MOST_ROWS:,} more: <code>result.rows()</code></p>")
    return f"<div>{''.join(parts)}</div>"


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    head = "".join(f"<th>{_shown(name)}</th>" for name in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{_shown(value)}</td>' for value in row.values())}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(value: object) -> str:
    """A value as text of HTML, whatever a file named its classes."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return html.escape(printable(str(value), 120))
