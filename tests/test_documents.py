"""What the documents say, held against what is there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploykit_runtimes import errors
from deploykit_runtimes.errors import DeploykitError

from deploykit.cli import EXIT_BUG
from deploykit.process.interrupted import EXIT_INTERRUPTED

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def tables(text: str) -> Iterator[list[str]]:
    """Lines that stand together and begin with a bar, outside of code."""
    rows: list[str] = []
    for line in [*re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines(), ""]:
        if line.startswith("|"):
            rows.append(line)
        elif rows:
            yield rows
            rows = []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_table_is_whole(document: Path) -> None:
    """Rows after an empty line are not a table but text with bars."""
    for rows in tables(document.read_text()):
        assert len(rows) > 2, rows
        assert re.fullmatch(r"\|( *:?-+:? *\|)+", rows[1]), rows[:2]
        cells = {len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in rows}
        assert len(cells) == 1, rows


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", document.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("http://", "https://", "#")):
            assert (document.parent / link.partition("#")[0]).exists(), link


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(project["optional-dependencies"])


def test_the_readme_lists_every_extra() -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Extras\n")[2]
    named = [row.split("`")[1] for row in next(tables(section))[2:]]
    assert sorted(named) == sorted(extras())


def test_the_first_screen_says_what_each_family_needs() -> None:
    first = (ROOT / "README.md").read_text().partition("\n## By example")[0]
    lines = re.findall(r"'\.\[([\w,-]+)\]'", first)
    assert "yolo,cpu" in lines
    assert "export,cpu" in lines
    assert {name for line in lines for name in line.split(",")} <= set(extras())


def exit_codes(error: type[DeploykitError] = DeploykitError) -> Iterator[tuple[str, int]]:
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child.__name__, child.exit_code
            yield from exit_codes(child)


def test_the_table_of_errors_has_their_exit_codes() -> None:
    tree = re.findall(r"[├└]── (\w+) .*?(?:exit (\d+))?$", errors.__doc__ or "", re.MULTILINE)
    codes = dict(exit_codes())
    assert [name for name, _ in tree] == list(codes)
    for name, code in tree:
        parent = getattr(errors, name).__mro__[1]
        assert codes[name] == (int(code) if code else parent.exit_code), name


def test_the_readme_lists_every_exit_code() -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Exit codes\n")[2]
    listed = {int(row.split("|")[1]) for row in next(tables(section))[2:]}
    assert {code for _, code in exit_codes()} <= listed
    assert {DeploykitError.exit_code, EXIT_INTERRUPTED, EXIT_BUG} <= listed


PYTHON = (ROOT / "docs" / "python.md").read_text()


def own_part() -> str:
    """The page of Python without the column of what Ultralytics calls it."""
    start, there, rest = PYTHON.partition("\n## Coming from Ultralytics\n")
    table, heading, end = rest.partition("\n## ")
    assert there and heading
    here = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")]
    return "\n".join([start, *here, end])


def test_the_page_of_python_names_what_there_is() -> None:
    from deploykit_runtimes.answers.results import (
        Classification,
        Detections,
        Features,
        OrientedDetections,
        Poses,
        Segmentation,
    )
    from deploykit_runtimes.prediction.options import PredictKeywords

    import deploykit

    text = own_part()
    kinds = (Classification, Detections, Segmentation, Poses, OrientedDetections, Features)
    known = {name for kind in kinds for name in (*dir(kind), *kind.__dataclass_fields__)}
    used = set(re.findall(r"\bresult\.(\w+)", text))
    assert used
    assert used <= known
    called = set(re.findall(r"\bdeploykit\.(\w+)", text))
    assert {"export", "load", "build", "doctor", "demo"} <= called
    assert called <= set(deploykit.__all__)
    options = re.search(r"^Options: (.*)\.", text, re.MULTILINE)
    assert options is not None
    assert set(re.findall(r"`(\w+)[`=]", options[1])) >= set(PredictKeywords.__annotations__)


def test_the_devices_of_the_page_mean_those_runtimes() -> None:
    from deploykit_runtimes.devices import runtime_of

    for given, meant in (
        ("cpu", "ort-cpu"),
        ("CPUExecutionProvider", "ort-cpu"),
        ("cuda:1", "ort-cuda"),
        ("gpu", "ort-cuda"),
        ("intel:gpu", "ov-gpu"),
        ("xpu", "ov-gpu"),
        ("npu", "ov-npu"),
        ("intel:npu", "ov-npu"),
    ):
        assert f'"{given}"' in PYTHON
        assert runtime_of(given)[0] == meant


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    from deploykit_runtimes.pixels.fetch import FetchLimits

    limits = FetchLimits()
    told = f"at most {limits.size >> 20} MiB, {limits.seconds:.0f} seconds and {limits.redirects} redirects"
    assert told in PYTHON
    security = (ROOT / "SECURITY.md").read_text()
    assert f"| bytes of the file | {limits.size >> 20} MiB" in security
    assert f"| total time | {limits.seconds:.0f} s" in security
    assert f"| redirects | {limits.redirects};" in security


def test_ci_runs_tests_that_there_are() -> None:
    named = re.findall(r"\btests/[\w/]+\.py\b", (ROOT / ".ci" / "run").read_text())
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).is_file()] == []
