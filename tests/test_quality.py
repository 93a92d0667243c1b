"""The gates that are not tests of behaviour: format, lint, types, and the direction of the arrows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

GATES = {
    "ruff format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "ruff check": [sys.executable, "-m", "ruff", "check", "."],
    "mypy --strict": [sys.executable, "-m", "mypy"],
    "import-linter": [sys.executable, "-c", "import importlinter.cli as cli; cli.lint_imports_command()"],
}


@pytest.mark.parametrize("gate", GATES)
def test_gate(gate: str) -> None:
    done = subprocess.run(GATES[gate], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{gate} found:\n{done.stdout}{done.stderr}"
