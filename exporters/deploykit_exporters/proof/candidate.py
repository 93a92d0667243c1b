"""The file under proof, opened node for node in the engine that proves it."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.ort.runner import OrtRunner, open_ort

__all__ = ["open_candidate"]


def open_candidate(path: Path) -> OrtRunner:
    """A file in ONNX Runtime on the CPU, ``exact``: what is proven is the file, not a faster form of it.

    Raises:
        DependencyError, ModelError, RuntimeUnavailableError: see ``open_ort``.
    """
    return open_ort(path, options=EngineOptions(exact=True))
