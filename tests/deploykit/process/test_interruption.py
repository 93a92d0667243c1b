"""Signals at the end of a command."""

from __future__ import annotations

import subprocess
import sys


def test_a_signal_that_is_passed_on_late_is_the_same_wish() -> None:
    """A supervisor passes a signal on that its whole group was sent, perhaps when the command has ended."""
    script = """
import os, signal
from deploykit.process.interruption import ending_signals, keep_handlers
keep_handlers()
try:
    with ending_signals():
        os.kill(os.getpid(), signal.SIGTERM)
except SystemExit:
    pass
os.kill(os.getpid(), signal.SIGTERM)
print("ended in order")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ended in order\n"), done.stderr
