"""Reports made from made-up rows: valid JSON, aligned tables, self-contained pages."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from deploykit_runtimes.runner import Placement
from hypothesis import given
from hypothesis import strategies as st

from deploykit.benchmark.environment import Environment, read_environment
from deploykit.benchmark.html import histogram, to_html
from deploykit.benchmark.report import BenchReport, BenchRow
from deploykit.benchmark.timing import summarise
from deploykit.machine import Cpu
from deploykit.terminal import as_json

QUIET = Cpu(model="Made-up 9000", architecture="x86_64", cores=8, usable=8, load=(0.1, 0.1, 0.1))


def environment(cpu: Cpu = QUIET) -> Environment:
    return Environment(
        time="2026-01-01T00:00:00+00:00",
        system="Linux",
        python="CPython 3.12",
        cpu=cpu,
        packages={"onnxruntime": "1.32.0"},
        variables={},
    )


def row(name: str = "ort-cpu, batch 1", times: tuple[float, ...] = (0.01,) * 200, batch: int = 1) -> BenchRow:
    placement = Placement(
        engine="onnxruntime", version="1.32.0", device="cpu", providers={"CPUExecutionProvider": 7}
    )
    return BenchRow(
        name=name,
        batch=batch,
        shape=(batch, 3, 8, 8),
        placement=placement,
        samples=times,
        summary=summarise(times),
        load_seconds=0.5,
        warmup=6,
    )


def report(*rows: BenchRow, cpu: Cpu = QUIET, title: str = "a model") -> BenchReport:
    return BenchReport(
        title=title, model={"file": "m.onnx"}, rows=rows or (row(),), environment=environment(cpu)
    )


def test_json_holds_everything_that_was_measured() -> None:
    data = json.loads(as_json(report(row(batch=4)).to_dict()))
    first = data["rows"][0]
    assert first["median_ms"] == pytest.approx(10)
    assert first["images_per_second"] == pytest.approx(400)
    assert first["shape"] == [4, 3, 8, 8]
    assert first["placement"]["providers"] == {"CPUExecutionProvider": 7}
    assert len(first["samples_ms"]) == first["runs"] == 200
    assert data["environment"]["cpu"]["model"] == "Made-up 9000"
    assert data["warnings"] == []


def test_table_names_rows_and_where_they_ran() -> None:
    lines = report(row(), row(name="ort-cpu, batch 8", batch=8)).table()
    assert any(line.split()[:3] == ["ort-cpu,", "batch", "8"] for line in lines)
    placements = [line for line in lines if "CPUExecutionProvider: 7 nodes" in line]
    assert len(placements) == 1


def test_noise_few_runs_and_a_busy_machine_are_told() -> None:
    busy = Cpu(model="m", architecture="x", cores=8, usable=4, quota=2.0, governor="powersave", load=(3.9,))
    warnings = " ".join(report(row(times=(0.01, 0.02)), cpu=busy).warnings())
    for expected in (
        "Noisy",
        "batch 1 47%",
        "Fewer than 100",
        "batch 1 2.",
        "busy",
        "2 cores' worth",
        "powersave",
    ):
        assert expected in warnings


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_page_is_self_contained_and_escapes() -> None:
    html = to_html(report(row(name="<script>alert(1)</script>"), title="a <b> & c"))
    page = _Page()
    page.feed(html)
    assert "script" not in page.tags
    assert page.links == []
    assert "http" not in html
    assert "a &lt;b&gt; &amp; c" in html
    assert "prefers-color-scheme: dark" in html
    assert page.tags.count("svg") == 1


@given(st.lists(st.floats(1e-7, 10), min_size=1, max_size=50))
def test_histogram_counts_every_sample_inside_its_frame(times: list[float]) -> None:
    svg = histogram(times)
    assert "nan" not in svg
    for x, width in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg):
        assert 0 <= float(x) <= 720 - float(width) + 0.1


def test_the_text_of_a_histogram_is_not_scaled_with_it() -> None:
    """On a phone, text inside of an SVG of the page's width is 6 pixels high."""
    svg = histogram([0.010, 0.012, 0.020])
    page = _Page()
    page.feed(svg)
    assert "text" not in page.tags
    outside = re.sub(r"<svg.*?</svg>", "", svg)
    for wanted in ("median 12.00 ms", "p95 ", "10.00 ms"):
        assert wanted in outside


def test_environment_is_read_without_loading_an_engine() -> None:
    found = read_environment()
    assert found.packages["numpy"]
    assert found.cpu.usable >= 1
    json.loads(as_json(found.to_dict()))
