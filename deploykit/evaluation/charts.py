"""Confusion matrices and precision-recall curves as HTML and SVG, which need no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploykit.benchmark.html import shown

__all__ = ["matrix_table", "precision_recall"]

_MOST_CLASSES = 40
_MOST_LINES = 12
_SIDE = 320


def matrix_table(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """A confusion matrix: a row for each true class, a column for each answer, shaded by their share.

    If there are many classes, those confused most often are shown.

    Args:
        labels: The classes.
        matrix: Counts [answer][truth].
    """
    chosen = _chosen(labels, matrix)
    heads = "".join(f"<th scope='col'><span>{shown(labels[n])}</span></th>" for n in chosen)
    rows = ""
    for truth in chosen:
        counts = [matrix[answer][truth] for answer in chosen]
        total = sum(row[truth] for row in matrix)
        cells = "".join(
            _cell(count, total, right=answer == truth) for answer, count in zip(chosen, counts, strict=True)
        )
        rows += f"<tr><th scope='row'>{shown(labels[truth])}</th>{cells}</tr>"
    left = len(labels) - len(chosen)
    note = f"<p class='faint'>{left} classes that are confused less are left out.</p>" if left else ""
    return (
        f"<div class='scroll'><table class='matrix'><thead><tr><th>truth \\ answer</th>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _chosen(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[int]:
    if len(labels) <= _MOST_CLASSES:
        return list(range(len(labels)))
    wrong = [
        sum(matrix[other][n] + matrix[n][other] for other in range(len(labels)) if other != n)
        for n in range(len(labels))
    ]
    return sorted(sorted(range(len(labels)), key=lambda n: -wrong[n])[:_MOST_CLASSES])


def _cell(count: int, total: int, *, right: bool) -> str:
    if not count:
        return "<td></td>"
    share = count / total if total else 0.0
    color = "var(--good)" if right else "var(--mark)"
    shade = f"color-mix(in srgb, {color} {10 + round(share * 70)}%, transparent)"
    return f'<td style="background:{shade}" title="{share:.1%} of the row">{count}</td>'


def precision_recall(curves: Mapping[str, Sequence[float]], names: Mapping[str, str], title: str) -> str:
    """Precision over recall at overlap 0.5: a thin line per class, and a thick one for their mean.

    Args:
        curves: Precision at 101 recalls from 0 to 1, by number of the class.
        names: Names of the classes.
        title: What is shown.
    """
    if not curves:
        return ""
    count = len(next(iter(curves.values())))
    mean = [sum(curve[step] for curve in curves.values()) / len(curves) for step in range(count)]
    few = dict(list(curves.items())[:_MOST_LINES]) if len(curves) > 1 else {}
    lines = "".join(
        f'<polyline points="{_points(curve)}" fill="none" stroke="var(--line-{place % 6})" '
        f'stroke-width="1.2" '
        f'vector-effect="non-scaling-stroke"><title>{shown(names.get(number, number))}</title></polyline>'
        for place, (number, curve) in enumerate(few.items())
    )
    grid = "".join(
        f'<line x1="0" x2="{_SIDE}" y1="{_SIDE * step / 4}" y2="{_SIDE * step / 4}" stroke="var(--line)"/>'
        for step in range(5)
    )
    key = "".join(
        f'<span style="--key:var(--line-{place % 6})">{shown(names.get(number, number))}</span>'
        for place, number in enumerate(few)
    )
    left = len(curves) - len(few) if few else 0
    more = f"<span class='more'>and {left} more in the mean</span>" if left else ""
    return (
        f"<figure class='curve'><figcaption>{shown(title)}</figcaption>"
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="{shown(title)}">{grid}{lines}'
        f'<polyline points="{_points(mean)}" fill="none" stroke="var(--ink)" stroke-width="2.5" '
        f'vector-effect="non-scaling-stroke"><title>mean</title></polyline></svg>'
        "<div class='axis'><span>recall 0</span><span>1</span></div>"
        f"<div class='key'><span style='--key:var(--ink)'>mean</span>{key}{more}</div></figure>"
    )


def _points(curve: Sequence[float]) -> str:
    step = _SIDE / (len(curve) - 1)
    return " ".join(f"{place * step:.1f},{_SIDE * (1 - value):.1f}" for place, value in enumerate(curve))
