"""JSON answers of a Ray Serve application."""

from __future__ import annotations

from typing import Any

from deploykit_runtimes.printable import printable_json
from starlette.responses import JSONResponse

__all__ = ["JsonAnswer"]


class JsonAnswer(JSONResponse):
    """Exact data, in which what a terminal could obey is escaped."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return printable_json(super().render(content).decode()).encode()
