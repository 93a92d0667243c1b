"""Processes that a command starts for a part of its work, and that never outlive it.

Each is a session of its own: the Ctrl-C of a terminal is the command's, which ends its children. CPython
loses a child when a signal's exception breaks off ``Popen`` or what follows it; so signals wait meanwhile,
and what is left is ended with the command, however that ends.
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
    """Start ``python -m module``; whoever starts a child ends it by ``end_child``.

    Args:
        module: A module of deploykit.
        arguments: What it is given on its command line.
        pipes: ``stdin``, ``stdout`` and ``stderr`` of ``subprocess.Popen``; what they carry is UTF-8.
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
    """Run ``python -m module`` to its end, with what it prints.

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
    """Kill a child that still runs, wait for its end, and close its pipes."""
    process.kill()
    _reap(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None and not pipe.closed:
            with suppress(BrokenPipeError):  # what a child that ended was asked last
                pipe.close()
    _running.discard(process)


def _reap(process: subprocess.Popen[str]) -> None:
    """``Popen.wait``, which would wait for ever where a signal broke it off once and left its lock locked."""
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
