"""The axes of an input that may be dynamic."""

from __future__ import annotations

__all__ = ["AXES"]

AXES = ("batch", "height", "width")
"""In the order in which they are named."""
