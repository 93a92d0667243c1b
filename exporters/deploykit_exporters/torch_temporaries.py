"""Folders that torch makes whenever its compiler is imported, which the exporters do not run."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["no_compiler_cache"]


@contextlib.contextmanager
def no_compiler_cache() -> Iterator[None]:
    """Remove torch's cache of compiled kernels (``torchinductor_USER``) if it came meanwhile and is empty."""
    folder = Path(tempfile.gettempdir())
    before = {*folder.glob("torchinductor_*")}
    try:
        yield
    finally:
        for cache in {*folder.glob("torchinductor_*")} - before:
            with contextlib.suppress(OSError):  # it is not empty, so something uses it
                cache.rmdir()
