"""Warnings and tracebacks of Python itself."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import threading, warnings
from deploykit.process.hooks import install

install()
evil = "\\x1b]0;owned\\x07\\nforged\\u202e"
warnings.warn(evil)

def fail():
    raise ValueError(evil)

thread = threading.Thread(target=fail, name=evil)
thread.start()
thread.join()

class Odd:
    def __del__(self):
        raise KeyError(evil)

Odd()
raise RuntimeError(evil)
"""


def test_they_command_no_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "UserWarning: \\x1b]0;owned\\x07" in done.stderr
    assert "ValueError: \\x1b]0;owned\\x07" in done.stderr
    assert "KeyError" in done.stderr
    assert "RuntimeError: \\x1b]0;owned\\x07" in done.stderr
    assert done.stderr.count("Traceback") == 3
    assert not set(done.stderr) & set("\x1b\x07\u202e")
