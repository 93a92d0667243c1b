"""The two sides of a comparison: a graph, and the engine that runs its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.machine.heap import return_freed_memory
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_files import model_bytes
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.optional import require
from deploykit_runtimes.ort.errors import failures, run_error
from deploykit_runtimes.ort.session import start_session
from deploykit_runtimes.runner import CheckedFeeds
from deploykit_runtimes.runtimes import runtime_named

from deploykit_exporters.bisect.stored import Stored

__all__ = ["UNOPTIMISED", "Side", "opener_of"]

UNOPTIMISED = "ort-unoptimised"
"""ONNX Runtime on the CPU without any of its own rewrites: one kernel a node."""

_SILENT = 4

Opener = Callable[[Path], "Opened"]


class Opened(Protocol):
    """A part of a graph that is open in an engine."""

    def infer(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Side:
    """A graph and its engine. Only one part is open at a time.

    Attributes:
        title: Its name in the result.
        graph: The graph.
        opener: Opens one of its parts.
        feeds: The inputs of the whole graph.
    """

    title: str
    graph: Stored
    opener: Opener
    feeds: Mapping[str, np.ndarray] = field(default_factory=dict)

    def values(
        self, wanted: Sequence[str], given: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute some values of the graph.

        Args:
            wanted: Their names.
            given: Values to start from; None: the inputs of the graph.

        Raises:
            DeploykitError: the engine refuses the part, or cannot run it.
        """
        path = self.graph.write_part(wanted, given)
        needed = read_onnx(path).inputs
        have = {**self.feeds, **(given or {})}
        runner = self.opener(path)
        try:
            found = runner.infer(CheckedFeeds({info.name: have[info.name] for info in needed}))
            return {name: np.array(found[name]) for name in wanted}
        finally:
            runner.close()
            del runner
            return_freed_memory()


def opener_of(runtime: str, engine: EngineOptions, folder: Path) -> Opener:
    """How an engine opens parts of a graph.

    Args:
        runtime: A runtime's name, or ``UNOPTIMISED``.
        engine: How the engine is opened; always ``exact``. Compiled parts are not cached.
        folder: Where engines that must compile put their files.
    """
    if runtime == UNOPTIMISED:
        return lambda path: _Unoptimised(path, engine.threads)
    cache = None if runtime_named(runtime).device == "cpu" else folder
    options = replace(engine, exact=True, cache=cache, outputs=None)
    return lambda path: open_runner(path, runtime=runtime, options=options)


class _Unoptimised:
    """A part run by ONNX Runtime, node for node."""

    def __init__(self, path: Path, threads: int | None) -> None:
        ort = require("onnxruntime", extra="cpu", purpose="run this model")
        settings = ort.SessionOptions()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.enable_cpu_mem_arena = False  # memory goes back as values die
        settings.intra_op_num_threads = threads or usable_cores()
        settings.log_severity_level = _SILENT
        self._version = str(ort.__version__)
        nbytes = model_bytes(path, read_onnx(path))
        self._session: Any = start_session(
            ort, path, settings, {"CPUExecutionProvider": {}}, "cpu", nbytes=nbytes
        )

    def infer(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        names = [each.name for each in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except failures() as error:
            raise run_error(self._version, error) from error

    def close(self) -> None:
        self._session = None
