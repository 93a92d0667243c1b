"""No file of a megabyte takes more than 200 MB to refuse, or is reported as a fault of ours. Nothing runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("attacks")
    command = [sys.executable, str(Path(__file__).with_name("measure.py")), "--json", *ATTACKS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    assert not (folder / "PWNED").exists()
    return {row["attack"]: row for row in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_in_words_without_much_memory(rows: dict[str, dict[str, Any]], name: str) -> None:
    row = rows[name]
    assert row["code"] == 2, row
    assert row["mb"] < 200, row
    assert row["words"], row
    assert "bug" not in row["words"]
    assert len(row["words"]) < 5000
