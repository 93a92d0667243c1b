"""The report as one self-contained page: no network, no script, light and dark, wide and narrow."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from deploykit.benchmark.html import document, shown
from deploykit.evaluation.charts import matrix_table, precision_recall
from deploykit.evaluation.mistakes import Drawn
from deploykit.evaluation.report import PARTS, EvalReport, ModelScores, comparison_rows

__all__ = ["to_html"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --paper: #ffffff; --faint: #5f687a; --line: #d9dee7;
        --good: #2f7d4f; --mark: #c2410c; --note: #fff6e0; --line-0: #3b6fd4; --line-1: #c2410c;
        --line-2: #2f7d4f; --line-3: #8b4fc4; --line-4: #b8860b; --line-5: #0f7f8c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --paper: #14171d; --faint: #98a1b3; --line: #2d3440; --good: #5cb67f;
          --mark: #ff9e64; --note: #2e2717; --line-0: #7aa2f7; --line-1: #ff9e64; --line-2: #5cb67f;
          --line-3: #bb9af7; --line-4: #e0af68; --line-5: #7dcfff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 66rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin-top: 2rem; } h3 { font-size: 1rem; overflow-wrap: anywhere; }
.faint, figcaption { color: var(--faint); } .scroll { overflow-x: auto; }
h1, h3, td, th, dd, figcaption { unicode-bidi: isolate; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.numbers { width: 100%; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { color: var(--faint); font-weight: 500; }
.matrix td, .matrix thead th { text-align: center; min-width: 2.2rem; padding: .25rem; }
.matrix tbody th { position: sticky; left: 0; background: var(--paper); white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.note { background: var(--note); border-radius: .4rem; padding: .6rem 1rem; margin: .6rem 0;
        overflow-wrap: anywhere; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 24rem));
          gap: 1.5rem; }
figure { margin: 0; } svg { display: block; width: 100%; }
.axis { display: flex; justify-content: space-between; color: var(--faint); font-size: .85rem; }
.key { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .85rem; }
.key span::before { content: ""; border-top: 3px solid var(--key); display: inline-block; width: 1rem;
                    margin-right: .4rem; vertical-align: middle; }
.key .more::before { content: none; }
.drawn { margin: 1.2rem 0; } .panels { display: flex; flex-wrap: wrap; gap: .8rem; }
.panels div { flex: 1 1 15rem; max-width: 24rem; } .panels img { width: 100%; border-radius: .4rem; }
.panels span { color: var(--faint); font-size: .85rem; overflow-wrap: anywhere; }
"""


def to_html(report: EvalReport, mistakes: Sequence[Drawn], differences: Sequence[Sequence[Drawn]]) -> str:
    """The page.

    Args:
        report: What was measured.
        mistakes: Pictures of the first model.
        differences: Pictures of each comparison.
    """
    title = f"{' and '.join(model.name for model in report.models)} on {report.data}"
    notes = "".join(f'<p class="note">{shown(note)}</p>' for note in report.notes)
    parts = [
        f"<h1>{shown(title)}</h1>",
        f'<p class="faint">deploykit eval, {report.images} pictures ({shown(report.kind)}), '
        f"{shown(report.environment.time)}</p>",
        notes,
        *(_unread(model) for model in report.models if model.unread),
        f'<h2>Accuracy</h2><div class="scroll">{_numbers(report)}</div>',
        *(
            _comparison(comparison, drawn)
            for comparison, drawn in zip(report.comparisons, differences, strict=True)
        ),
        "<h2>Precision and recall</h2>" if report.task != "classify" else "",
        *(_curves(model) for model in report.models if report.task != "classify"),
        "<h2>Confusion</h2>",
        *(_matrix(model, several=len(report.models) > 1) for model in report.models),
        f'<h2>Classes</h2><div class="scroll">{_table(report.class_header(), report.class_rows())}</div>',
        f"<h2>Worst mistakes of {shown(report.models[0].name)}</h2>{_pictures(mistakes)}",
        f"<h2>What was counted</h2>{_settings_list(report)}",
    ]
    return document(title, _STYLE, parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{shown(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{shown(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table class='numbers'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _numbers(report: EvalReport) -> str:
    heads = [dict(model.headline()) for model in report.models]
    rows = [(model.name, *head.values()) for model, head in zip(report.models, heads, strict=True)]
    return _table(("", *heads[0]), rows)


def _unread(model: ModelScores) -> str:
    items = "".join(f"<li>{shown(each.problem)}</li>" for each in model.unread[:20])
    more = f"<li>and {len(model.unread) - 20} more</li>" if len(model.unread) > 20 else ""
    return f'<div class="note">{len(model.unread)} pictures could not be read.<ul>{items}{more}</ul></div>'


def _comparison(found: Mapping[str, Any], drawn: Sequence[Drawn]) -> str:
    rows = "".join(f"<dt>{shown(name)}</dt><dd>{shown(text)}</dd>" for name, text in comparison_rows(found))
    left = len(found["differing"]) - len(drawn)
    more = f'<p class="faint">{left} more pictures differ.</p>' if left > 0 else ""
    return (
        f"<h2>{shown(found['second'])} against {shown(found['first'])}</h2><dl>{rows}</dl>"
        f"{_pictures(drawn)}{more}"
    )


def _curves(model: ModelScores) -> str:
    names = {str(entry["class_id"]): entry["name"] for entry in model.scores["classes"]}
    figures = "".join(
        precision_recall(model.scores["curves"][part], names, f"{model.name}: {part}, overlap 0.5")
        for part in PARTS
        if part in model.scores["curves"]
    )
    return f'<div class="curves">{figures}</div>'


def _matrix(model: ModelScores, *, several: bool) -> str:
    confusion = model.scores["confusion"]
    head = f"<h3>{shown(model.name)}</h3>" if several else ""
    return head + matrix_table(confusion["labels"], confusion["matrix"])


def _pictures(drawn: Sequence[Drawn]) -> str:
    if not drawn:
        return '<p class="faint">None.</p>'
    figures = ""
    for each in drawn:
        panels = "".join(
            f'<div><span>{shown(name)}</span><img alt="{shown(name)}" src="{_source(pixels)}"></div>'
            for name, pixels in each.panels
        )
        caption = f"{each.image.name}: {each.caption}"
        figures += (
            f'<figure class="drawn"><div class="panels">{panels}</div>'
            f"<figcaption>{shown(caption)}</figcaption></figure>"
        )
    return figures


def _source(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _settings_list(report: EvalReport) -> str:
    environment = report.environment
    facts: dict[str, object] = {"data": report.data, "task": report.task, **report.settings}
    for model in report.models:
        facts[model.name] = f"{model.model}, sha256 {model.sha256[:16]}, {model.placement}"
    facts["processor"] = f"{environment.cpu.model}, {environment.cpu.usable} cores usable"
    facts["system"] = f"{environment.system}, {environment.python}"
    facts["packages"] = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    rows = "".join(f"<dt>{shown(str(key))}</dt><dd>{shown(str(value))}</dd>" for key, value in facts.items())
    return f"<dl>{rows}</dl>"
