"""The report as one self-contained page: accuracy against time, and the effect of each group of layers."""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.benchmark.html import document, shown
from deploykit.quantization.int8.candidates import Candidate
from deploykit.quantization.int8.report import Int8Report
from deploykit.terminal import size

__all__ = ["to_html"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --paper: #ffffff; --faint: #5f687a; --line: #d9dee7;
        --good: #2f7d4f; --mark: #3b6fd4; --bad: #c2410c; --note: #fff6e0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --paper: #14171d; --faint: #98a1b3; --line: #2d3440; --good: #5cb67f;
          --mark: #7aa2f7; --bad: #ff9e64; --note: #2e2717; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.faint { color: var(--faint); } .scroll { overflow-x: auto; }
h1, td, th, dd { unicode-bidi: isolate; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 12rem; }
th { color: var(--faint); font-weight: 500; } tr.best td { color: var(--good); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.note { background: var(--note); border-radius: .4rem; padding: .6rem 1rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; max-width: 44rem; } svg text { fill: var(--faint); font-size: 14px; }
svg .axis { stroke: var(--line); }
.bars { display: grid; grid-template-columns: minmax(9rem, 1fr) 2fr max-content; gap: .25rem .8rem;
        align-items: center; }
.bars .bar { background: var(--mark); height: .8rem; border-radius: .2rem; min-width: 1px; }
.bars .bar.less { background: var(--bad); } .bars span { overflow-wrap: anywhere; font-size: .9rem; }
"""
_WIDTH, _HEIGHT, _EDGE = 640, 320, 48
_MOST_BARS = 24


def to_html(report: Int8Report) -> str:
    """Render the page."""
    title = f"INT8 of {report.model.name}"
    notes = "".join(f'<p class="note">{shown(note)}</p>' for note in report.notes)
    parts = [
        f"<h1>{shown(title)}</h1>",
        f"<p>{shown(report.verdict)}.</p>",
        f'<p class="faint">deploykit quantize, {shown(report.data)}, {report.images} pictures measured, '
        f"{shown(report.environment.time)}</p>",
        notes,
        f"<h2>Accuracy against time</h2>{_scatter(report)}",
        f'<h2>Candidates</h2><div class="scroll">{_table(report)}</div>',
        f"<h2>What each group of layers does</h2>{_bars(report)}",
        f"<h2>Layers that stayed in float</h2>{_list(report.found.kept)}",
        f"<h2>Self-tests</h2>{_list([f'{name}: {text}' for name, text in report.selftests.items()])}",
        f"<h2>Where</h2>{_settings_list(report)}",
    ]
    return document(title, _STYLE, parts)


def _scored(report: Int8Report) -> list[Candidate]:
    return [each for each in report.found.candidates if each.accuracy is not None]


def _scatter(report: Int8Report) -> str:
    """Times on the search's engine and the metric, with the Pareto front as a line."""
    engine = report.found.engine
    points = [each for each in _scored(report) if engine in each.speeds]
    if not points or not engine:
        return '<p class="faint">No engine of the target works on this machine: times were not measured.</p>'
    base = points[0].speeds[engine].float32_ms
    times = {each.choice.key: base / each.ratio(engine) for each in points}
    scores = {each.choice.key: each.accuracy.value for each in points if each.accuracy}
    across = _scale([base, *times.values()])
    up = _scale([report.reference, *scores.values()])
    up = max(up[0], 0.0), up[1]

    def place(time: float, score: float) -> tuple[float, float]:
        x = _EDGE + (time - across[0]) / (across[1] - across[0]) * (_WIDTH - 2 * _EDGE)
        y = _HEIGHT - _EDGE - (score - up[0]) / (up[1] - up[0]) * (_HEIGHT - 2 * _EDGE)
        return x, y

    front = [place(times[each.choice.key], scores[each.choice.key]) for each in report.front]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in front)
    marks = "".join(
        _mark(*place(times[each.choice.key], scores[each.choice.key]), each.title, best=each is report.best)
        for each in points
    )
    x, y = place(base, report.reference)
    corner = f"{_EDGE},{_HEIGHT - _EDGE}"
    axes = (
        f'<polyline class="axis" fill="none" points="{_EDGE},{_EDGE} {corner} '
        f'{_WIDTH - _EDGE},{_HEIGHT - _EDGE}"/>'
        f'<text x="{_EDGE}" y="{_HEIGHT - 12}">{across[0]:.3g} ms</text>'
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 12}" text-anchor="end">'
        f"{across[1]:.3g} ms on {shown(engine)}</text>"
        f'<text x="4" y="{_HEIGHT - _EDGE}">{up[0]:.3g}</text>'
        f'<text x="4" y="{_EDGE}">{up[1]:.3g} {shown(report.metric_name)}</text>'
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="accuracy against time">{axes}'
        f'<polyline points="{line}" fill="none" stroke="var(--line)" stroke-width="2"/>{marks}'
        f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="var(--bad)">'
        '<title>float32</title></rect></svg><p class="faint">Square: float32. Green: the fastest inside '
        "the budget. Line: candidates of which none is both faster and more accurate.</p>"
    )


def _scale(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _mark(x: float, y: float, title: str, *, best: bool) -> str:
    color = "var(--good)" if best else "var(--mark)"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{color}"><title>{shown(title)}</title></circle>'


def _table(report: Int8Report) -> str:
    runtimes = report.runtimes
    heads = ("candidate", report.metric_name, *runtimes, "tensor error", "size")
    rows = ""
    for each in report.found.candidates:
        times = [
            f"{each.speeds[name].ms:.2f} ms, {each.ratio(name):.2f}x ({each.speeds[name].low:.2f} to "
            f"{each.speeds[name].high:.2f})"
            if name in each.speeds
            else "refused"
            for name in runtimes
        ]
        found = each.accuracy
        score = "not measured" if found is None else f"{found.value:.4f}"
        if found is not None and found.stopped:
            score += f", given up after {found.images}"
        cells = (each.title, score, *times, f"{each.error:.2e}", size(each.nbytes))
        row = "".join(f"<td>{shown(cell)}</td>" for cell in cells)
        rows += f"<tr{' class=best' if each is report.best else ''}>{row}</tr>"
    head = "".join(f"<th>{shown(each)}</th>" for each in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _bars(report: Int8Report) -> str:
    """How much the error of the tensors falls when one group alone stays in float."""
    found = report.found.sensitivities[:_MOST_BARS]
    if not found:
        return '<p class="faint">One group alone.</p>'
    most = max(abs(each.gain) for each in found) or 1.0
    rows = ""
    for each in found:
        kind = "bar less" if each.gain < 0 else "bar"
        cost = f"{each.cost_ms:+.2f} ms" if report.found.engine else f"{each.cost_ms:.0%} of the work"
        rows += (
            f'<span>{shown(str(each.group))}</span><div><div class="{kind}" '
            f'style="width:{abs(each.gain) / most * 100:.1f}%"></div></div>'
            f"<span>{each.gain:+.2e}, {shown(cost)}</span>"
        )
    return (
        '<p class="faint">By how much the error falls when these layers alone stay in float, and what that '
        f'costs. Orange: it grows.</p><div class="bars">{rows}</div>'
    )


def _list(items: Sequence[str]) -> str:
    if not items:
        return '<p class="faint">None.</p>'
    return f"<ul>{''.join(f'<li>{shown(each)}</li>' for each in items)}</ul>"


def _settings_list(report: Int8Report) -> str:
    environment, best = report.environment, report.best
    facts = {
        "float32": f"{report.model}, {size(report.float32_bytes)}",
        "written": str(report.output or "nothing"),
        "target": report.target,
        "budget": f"{report.budget:.2%} of {report.metric_name}",
        "shown for CPUs": " and ".join(report.cpus) or "not for CPUs",
        "this CPU": f"{environment.cpu.model}, {report.cpu_class}, {environment.cpu.usable} cores usable",
        "deploy with": report.deploy_with or "not measured",
        "not measured on": ", ".join(f"{name}: {why}" for name, why in report.unmeasured.items())
        or "nothing",
        "packages": ", ".join(f"{name} {version}" for name, version in environment.packages.items()),
    }
    if best is not None:
        facts["ranges"] = (
            f"{best.choice.method}, {best.choice.form.name}, {best.choice.weight_bits}-bit weights"
        )
    rows = "".join(f"<dt>{shown(key)}</dt><dd>{shown(value)}</dd>" for key, value in facts.items())
    return f"<dl>{rows}</dl>"
