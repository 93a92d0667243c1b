"""The files of the web page, the only ones that can be requested."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from deploykit.protocol.responses import Response

__all__ = ["page"]

_MODULES = (
    "api.js",
    "app.js",
    "camera.js",
    "chart.js",
    "draw.js",
    "masks.js",
    "panels.js",
    "printable.js",
    "skeleton.js",
)
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    **{name: (name, "text/javascript; charset=utf-8") for name in _MODULES},
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@cache
def page(name: str) -> Response | None:
    """A file of the web page; None if there is no file of that name."""
    if name not in _FILES:
        return None
    file, content_type = _FILES[name]
    content = files("deploykit.serve").joinpath("page", file).read_bytes()
    return Response(body=content, content_type=content_type, headers=_HEADERS)
