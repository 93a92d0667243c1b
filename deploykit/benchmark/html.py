"""A measurement as one self-contained web page: tables and inline SVG, no network, light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from deploykit_runtimes.text.printable import printable

from deploykit.benchmark.report import BenchReport, BenchRow, milliseconds
from deploykit.benchmark.timing import percentile

__all__ = ["document", "histogram", "shown", "to_html"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --paper: #ffffff; --faint: #6a7385; --line: #d9dee7;
        --bar: #3b6fd4; --mark: #c2410c; --note: #fff6e0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --paper: #14171d; --faint: #98a1b3; --line: #2d3440; --bar: #7aa2f7;
          --mark: #ff9e64; --note: #2e2717; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.faint { color: var(--faint); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
h1, td, dd, figcaption { unicode-bidi: isolate; }
th:first-child, td:first-child { text-align: left; } th { color: var(--faint); font-weight: 500; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.note { background: var(--note); border-radius: .4rem; padding: .6rem 1rem; margin: .6rem 0; }
figure { margin: 1.2rem 0; } figcaption { color: var(--faint); }
svg { display: block; width: 100%; height: 8.5rem; } svg line { vector-effect: non-scaling-stroke; }
.legend, .axis { display: flex; flex-wrap: wrap; color: var(--faint); font-size: .85rem; }
.legend { gap: 0 1.4rem; } .axis { justify-content: space-between; }
.legend span::before { content: ""; border-left: 2px solid var(--mark); margin-right: .4rem; }
.legend span + span::before { border-left-style: dashed; }
td:first-child { white-space: nowrap; }
img { max-width: 100%; border-radius: .4rem; }
"""

_WIDTH, _HEIGHT, _BINS = 720, 140, 60


def to_html(report: BenchReport, *, lead: str = "") -> str:
    """Render the page.

    Args:
        report: What was measured.
        lead: HTML that comes before the table; the caller escapes it.
    """
    notes = "".join(f'<p class="note">{shown(text)}</p>' for text in report.warnings())
    figures = "".join(_figure(row) for row in report.rows)
    return document(
        report.title,
        _STYLE,
        [
            f"<h1>{shown(report.title)}</h1>",
            f'<p class="faint">deploykit benchmark, {shown(report.environment.time)}</p>',
            lead,
            f'<h2>Latency</h2>\n<div class="scroll">{_table(report.rows)}</div>',
            notes,
            f"<h2>Distribution</h2>\n{figures}",
            f"<h2>Model</h2>\n{_definitions(report.model)}",
            f"<h2>Environment</h2>\n{_definitions(_environment(report))}",
        ],
    )


def document(title: str, style: str, parts: Iterable[str]) -> str:
    """A self-contained page.

    Args:
        title: Title of the page; it is escaped here.
        style: CSS.
        parts: HTML, which the caller escaped; empty ones are left out.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def shown(text: str) -> str:
    """Escape a text for HTML, for use inside an element or attribute."""
    return escape(printable(text))


def histogram(samples: Sequence[float]) -> str:
    """A histogram of samples in seconds, with the median and p95 marked.

    Its text is HTML around the SVG, which is stretched to the page: text inside it would be tiny on a phone.

    The axis ends at p99 plus a margin, so that one hiccup does not squeeze the rest; slower calls
    are counted in the last bin.
    """
    low, high = min(samples), max(percentile(samples, 99) * 1.02, min(samples) * 1.0001 + 1e-12)
    counts = [0] * _BINS
    for value in samples:
        counts[min(int((value - low) / (high - low) * _BINS), _BINS - 1)] += 1
    bar = _WIDTH / _BINS
    tallest = max(counts)
    bars = "".join(
        f'<rect x="{index * bar:.1f}" y="{_HEIGHT * (1 - count / tallest):.1f}" width="{bar - 1:.1f}" '
        f'height="{_HEIGHT * count / tallest:.1f}" fill="var(--bar)"/>'
        for index, count in enumerate(counts)
        if count
    )
    marked = {"median": percentile(samples, 50), "p95": percentile(samples, 95)}
    marks = "".join(_mark(value, low, high, dashed=name == "p95") for name, value in marked.items())
    axis = f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}" stroke="var(--line)"/>'
    legend = "".join(f"<span>{name} {milliseconds(value)} ms</span>" for name, value in marked.items())
    return (
        f'<div class="legend">{legend}</div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Histogram of latency">{bars}{marks}{axis}</svg>'
        f'<div class="axis"><span>{milliseconds(low)} ms</span><span>{milliseconds(high)} ms</span></div>'
    )


def _mark(value: float, low: float, high: float, *, dashed: bool) -> str:
    x = min(max((value - low) / (high - low), 0.0), 1.0) * _WIDTH
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    place = f'x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT}"'
    return f'<line {place} stroke="var(--mark)" stroke-width="2"{dashes}/>'


def _figure(row: BenchRow) -> str:
    caption = f"{row.name}: {row.summary.runs} calls at {'x'.join(map(str, row.shape))}. {row.placement}"
    return f"<figure>{histogram(row.samples)}<figcaption>{shown(caption)}</figcaption></figure>"


def _table(rows: Sequence[BenchRow]) -> str:
    names = ("", "median ms", "p95 ms", "p99 ms", "mean ms", "min ms", "images/s", "variation", "runs")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = ""
    for row in rows:
        summary = row.summary
        times = (summary.median, summary.p95, summary.p99, summary.mean, summary.min)
        cells = [milliseconds(value) for value in times]
        cells += [f"{row.throughput:.1f}", f"{summary.variation:.1%}", str(summary.runs)]
        numbers = "".join(f"<td>{cell}</td>" for cell in cells)
        body += f"<tr><td>{shown(row.name)}</td>{numbers}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _environment(report: BenchReport) -> dict[str, object]:
    environment = report.environment
    cpu = environment.cpu
    limit = "" if cpu.quota is None else f", limited to {cpu.quota:g} cores' worth of time"
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    variables = ", ".join(f"{name}={value}" for name, value in environment.variables.items())
    return {
        "system": f"{environment.system}, {environment.python}",
        "processor": f"{cpu.model} ({cpu.architecture}), {cpu.usable} of {cpu.cores} cores usable{limit}",
        "frequency": f"{cpu.mhz:.0f} MHz {cpu.governor}".strip() if cpu.mhz else "",
        "load average": ", ".join(f"{value:.2f}" for value in cpu.load),
        "packages": packages,
        "variables": variables,
    }


def _definitions(facts: object) -> str:
    items = facts.items() if hasattr(facts, "items") else ()
    rows = "".join(
        f"<dt>{shown(str(key))}</dt><dd>{shown(_readable(value))}</dd>"
        for key, value in items
        if value not in ("", None)
    )
    return f"<dl>{rows}</dl>"


def _readable(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else str(value)
