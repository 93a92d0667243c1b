"""Engines by name."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.runner import Runner

__all__ = ["available_runtimes", "open_runner"]

_ORT_DEVICES = {"ort-cpu": "cpu", "ort-cuda": "cuda", "ort-trt": "tensorrt"}


def available_runtimes() -> tuple[str, ...]:
    """The names ``open_runner`` takes; whether one runs here is told by ``deploykit doctor``."""
    return tuple(_ORT_DEVICES)


def open_runner(
    path: str | Path, *, runtime: str = "ort-cpu", threads: int | None = None, strict: bool = False
) -> Runner:
    """Load a model file into an engine.

    Args:
        path: The .onnx file.
        runtime: One of ``available_runtimes()``. What is asked for runs, or an error says why not.
        threads: Threads inside one operator on the CPU; None uses every usable core.
        strict: Refuse a model of which a part would run elsewhere.

    Raises:
        OptionError: no such runtime.
        ModelError, RuntimeUnavailableError, DependencyError: see the adapter.
    """
    if runtime not in _ORT_DEVICES:
        raise OptionError(f"Runtime {runtime!r} is not one of {', '.join(available_runtimes())}.")
    from deploykit_runtimes.ort import open_ort

    return open_ort(path, device=_ORT_DEVICES[runtime], threads=threads, strict=strict)  # type: ignore[arg-type]
