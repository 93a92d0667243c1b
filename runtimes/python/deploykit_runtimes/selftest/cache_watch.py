"""Engines that were compiled into a cache at this moment: nobody has seen them run."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.machine.engine_cache import KEY_FILE
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.selftest.run import require_self_test

__all__ = ["CacheWatch"]

_Entries = dict[str, tuple[int, int]]


class CacheWatch:
    """What was in the folder of a cache before an engine opened a model.

    Args:
        folder: The folder, which need not exist; None: there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._before = _entries(folder)

    def test(self, runner: Runner) -> None:
        """Run the golden cases of the model if the engine left something new in the cache.

        Raises:
            ParityError: one fails. The runner is closed, and what is new is gone from the cache.
            ModelError: the cases are damaged, or have no tolerances for the engine's precision.
        """
        if self._folder is None or not runner.spec.golden:
            return
        now = _entries(self._folder)
        new = [name for name, state in now.items() if self._before.get(name) != state and name != KEY_FILE]
        if not new:
            return
        try:
            require_self_test(runner)
        except DeploykitError:
            runner.close()
            for name in new:
                _remove(self._folder / name)
            raise


def _entries(folder: Path | None) -> _Entries:
    """Size and time of change of what lies in a folder, by name."""
    found: _Entries = {}
    if folder is None:
        return found
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                state = entry.stat()
                found[entry.name] = (0 if entry.is_dir() else state.st_size, state.st_mtime_ns)
    return found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
