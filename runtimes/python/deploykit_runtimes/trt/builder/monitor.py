"""How far a build is, from the phases that TensorRT reports."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from deploykit_runtimes.build_options import BuildReport

__all__ = ["BuildProgress", "make_monitor"]

_BAR = 24


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class BuildProgress:
    """The tree of phases, and the wish to stop.

    TensorRT calls from its own threads; a phase tells the number of its steps, and which phase it
    is a step of.
    """

    def __init__(self, report: BuildReport) -> None:
        self._report = report
        self._phases: dict[str, _Phase] = {}
        self._furthest = 0.0
        self._lock = threading.Lock()
        self.cancelled = False

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = _Phase(parent, max(steps, 1))
        self._tell(name)

    def step(self, name: str) -> bool:
        """Count a step; False asks TensorRT to stop."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done += 1
        self._tell(name)
        return not self.cancelled

    def finish(self, name: str) -> None:
        with self._lock:
            phase = self._phases.pop(name, None)
            whole = phase is not None and phase.parent is None
            self._furthest = 1.0 if whole else self._furthest
        if whole:
            self._tell(name)

    def share(self) -> float:
        """Share of the build that is done, 0 to 1. Never falls: phases come again."""
        with self._lock:
            roots = [name for name, phase in self._phases.items() if phase.parent not in self._phases]
            found = max((self._share(name, 0) for name in roots), default=self._furthest)
            self._furthest = max(self._furthest, min(found, 1.0))
            return self._furthest

    def _share(self, name: str, depth: int) -> float:
        phase = self._phases[name]
        if depth > 16:  # a phase that names itself as its parent
            return 0.0
        inside = [self._share(child, depth + 1) for child, p in self._phases.items() if p.parent == name]
        return min((phase.done + max(inside, default=0.0)) / phase.steps, 1.0)

    def _tell(self, name: str) -> None:
        share = self.share()
        full = round(share * _BAR)
        self._report.note(
            f"Building the engine [{'#' * full}{'.' * (_BAR - full)}] {share:4.0%}  {name.lower()}"
        )


def make_monitor(trt: Any, progress: BuildProgress) -> Any:
    """An IProgressMonitor of the given module.

    Its methods are called from C++ that takes no exceptions: they must not raise.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base is known at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002 - TensorRT's signature
            return progress.step(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
