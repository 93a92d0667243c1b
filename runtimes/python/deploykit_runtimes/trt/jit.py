"""What TensorRT for RTX compiles when an engine first runs, kept for the next process.

RTX plans hold no machine code: kernels are compiled on the GPU they run on. TensorRT itself has
nothing of this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit_runtimes.files import write_target
from deploykit_runtimes.trt.engine import Engine

__all__ = ["JitCache", "runtime_config"]


class JitCache:
    """The compiled kernels of an engine, in a file.

    Args:
        cache: An IRuntimeCache.
        path: Where it is kept.
    """

    def __init__(self, cache: Any, path: Path) -> None:
        self._cache = cache
        self._path = path
        self._known = path.read_bytes() if path.is_file() else b""
        # A cache of another version, GPU or driver is refused, and replaced on save.
        if self._known and not cache.deserialize(self._known):
            self._known = b""

    def save(self) -> None:
        """Write what was compiled since it was opened, if anything."""
        serialized = self._cache.serialize()
        data = bytes(memoryview(serialized)) if serialized is not None else b""
        if data and data != self._known:
            write_target(self._path, data)
            self._known = data


def runtime_config(engine: Engine, *, cuda_graph: bool, cache: Path | None) -> tuple[Any, JitCache | None]:
    """How contexts of an engine run; None for TensorRT, whose contexts need no configuration."""
    trt = engine.bindings.trt
    if not engine.bindings.is_rtx:
        return None, None
    config = engine.handle.create_runtime_config()
    if cuda_graph:
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    if cache is None:
        return config, None
    kernels = config.create_runtime_cache()
    kept = JitCache(kernels, cache)
    config.set_runtime_cache(kernels)
    return config, kept
