"""Freed memory that the allocator keeps."""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["return_freed_memory"]


def return_freed_memory() -> None:
    """Give memory that is free inside the process back to the system.

    glibc keeps what lies below anything that is still in use: after a model was exported, several times its
    weights. Other allocators, and other systems, return it by themselves.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
