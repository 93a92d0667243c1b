"""The default limits on the size of requests and pictures."""

from __future__ import annotations

__all__ = ["MAX_BODY_MB", "MAX_IMAGES", "MAX_PIXELS"]

MAX_BODY_MB = 64.0
"""Megabytes, of 10^6 bytes, of a request's body."""

MAX_IMAGES = 32
"""Pictures of a request."""

MAX_PIXELS = 50_000_000
"""Pixels of a picture."""
