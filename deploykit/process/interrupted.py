"""What an interrupted command prints and its exit code; a separate module, loaded before all others."""

from __future__ import annotations

__all__ = ["EXIT_INTERRUPTED", "INTERRUPTED"]

EXIT_INTERRUPTED = 130
INTERRUPTED = "interrupted\n"
"""The one line that an interrupted command says."""
