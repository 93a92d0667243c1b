"""A few hundred damaged files for each reader; ``fuzz.py`` by itself tries tens of thousands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")
COUNT = os.environ.get("DEPLOYKIT_FUZZ", "150")
SEED = os.environ.get("DEPLOYKIT_SEED", "20261129")


def test_damaged_files_are_read_or_refused() -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "--count", COUNT, "--seed", SEED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 faults") == 27
