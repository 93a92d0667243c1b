"""Child processes that a command starts for a part of its work, and that never outlive it.

Each has a session of its own: Ctrl-C on a terminal reaches only the command, which ends its children.
CPython loses track of a child when a signal's exception interrupts ``Popen``; so signals are held back
meanwhile, and remaining children end with the command in every case.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

from deploykit.process.interruption import at_ending, held_signals

__all__ = ["end_child", "run_child", "start_child"]

_running: set[subprocess.Popen[str]] = set()


def start_child(module: str, *arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    """Start ``python -m module``; the caller ends it with ``end_child``.

    Args:
        module: A module of deploykit.
        arguments: Its command-line arguments.
        pipes: ``stdin``, ``stdout`` and ``stderr`` of ``subprocess.Popen``; their text is UTF-8.
    """
    with held_signals():
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
            [sys.executable, "-m", module, *arguments],
            text=True,
            encoding="utf-8",
            start_new_session=True,
            **pipes,
        )
        _running.add(process)
    return process


def run_child(module: str, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module`` to its end; returns what it printed.

    Raises:
        subprocess.TimeoutExpired: it did not end within ``seconds``; it is killed.
    """
    process = start_child(module, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, error = process.communicate(timeout=seconds)
    finally:
        end_child(process)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def end_child(process: subprocess.Popen[str]) -> None:
    """Kill a child that is still running, wait for it, and close its pipes."""
    process.kill()
    _reap(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None and not pipe.closed:
            with suppress(BrokenPipeError):  # what a child that ended was asked last
                pipe.close()
    _running.discard(process)


def _reap(process: subprocess.Popen[str]) -> None:
    """Wait like ``Popen.wait``, which would hang if a signal had once interrupted it and left its lock
    locked.
    """
    if sys.platform == "win32":
        process.wait()
    elif process.returncode is None:
        # A wait that was broken off may have had the answer already.
        with suppress(ChildProcessError):
            process.returncode = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])


def _end_children() -> None:
    for process in tuple(_running):
        end_child(process)


at_ending(_end_children)
