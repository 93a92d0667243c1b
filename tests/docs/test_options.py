"""The page of all options is what its script makes of the command line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_commands_have(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("options", DOCS / "options.py")
    assert spec is not None
    assert spec.loader is not None
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    made = options.make(tmp_path).read_text()
    assert made == (DOCS / "options.md").read_text(), "run docs/options.py again"
    assert made.count("\n## `deploykit ") > 10
    assert "| `--no-simplify` | `simplify` | `True` |" in made
