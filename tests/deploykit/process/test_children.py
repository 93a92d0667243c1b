"""A command's children end with it, wherever a signal breaks it off."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import json, os, signal, subprocess, sys
from deploykit.process.children import run_child, start_child
from deploykit.process.interruption import ending_signals

class Line:
    '''Sends the process a Ctrl-C at a line of what it runs.'''
    def __init__(self, number):
        self.left = number
    def __call__(self, frame, event, arg):
        if frame.f_code.co_filename.endswith(("/subprocess.py", "/children.py")):
            self.left -= event == "line"
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            return self

def command(number):
    '''What became of it: done, or interrupted.'''
    try:
        with ending_signals():
            sys.settrace(Line(number))
            try:
                run_child("sleeper", seconds=0.05)
            except subprocess.TimeoutExpired:
                pass
            start_child("sleeper")
            sys.settrace(None)
    except KeyboardInterrupt:
        sys.settrace(None)
        return "interrupted"
    return "done"

def has_children():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True

answers, left, number = [], [], 0
while answers[-1:] != ["done"]:
    number += 1
    answers.append(command(number))
    if has_children():
        left.append(number)
print(json.dumps([number, answers, left]))
"""


def test_interrupted_at_every_line(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(600)\n")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + _SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines, answers, left = json.loads(done.stdout)
    assert lines > 100
    assert answers[:-1] == ["interrupted"] * (lines - 1)
    assert left == []
