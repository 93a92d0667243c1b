"""What pytest says at its end of the tests that were skipped, and that CI installs what it says."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

TESTS = Path(__file__).parent


def test_reasons_are_counted(pytestconfig: pytest.Config) -> None:
    plugin = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    said = ["no GPU: buy one", "x is not installed: get it", "x is not installed: get it"]
    reports = [
        SimpleNamespace(longrepr=("test_a.py", line, f"Skipped: {text}")) for line, text in enumerate(said)
    ]
    assert plugin.skipped_lines(reports) == [
        "     2  x is not installed: get it",
        "     1  no GPU: buy one",
    ]


def test_ci_installs_what_reasons_name() -> None:
    listed = (TESTS.parent / ".ci" / "packages.txt").read_text().splitlines()
    packages = {line.split()[0] for line in listed if line and not line.startswith("#")}
    named: set[str] = set()
    for path in TESTS.rglob("*.py"):
        for words in re.findall(r'skip\(f?"[^"]*apt-get install ([a-z+ -]+)[")]', path.read_text()):
            named.update(words.split())
    assert named - {"cmake"} <= packages, "cmake comes with the extra dev"
    assert len(named) > 6
