"""Whether the installed uvicorn has the internals that ``protocol.py`` and ``server.py`` build on.

They extend classes that uvicorn does not document, so pyproject.toml allows only tested releases. If
another one is installed anyway, it is refused here, before it fails in the middle of a request.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import version
from typing import Any

from deploykit_runtimes.errors import DependencyError

__all__ = ["REQUIREMENT", "check_uvicorn"]

REQUIREMENT = "uvicorn>=0.30,<0.55"
"""As in pyproject.toml: the first and the last minor release that the tests ran with."""

_METHODS = (
    "_unset_keepalive_if_required",
    "connection_lost",
    "connection_made",
    "data_received",
    "on_body",
    "on_headers_complete",
    "on_message_begin",
    "pause_writing",
    "resume_writing",
    "send_400_response",
)
_ATTRIBUTES = ("expect_100_continue", "headers", "loop", "parser", "scope", "transport")
_ARGUMENTS = {"config", "server_state", "app_state"}


def check_uvicorn() -> None:
    """Refuse a uvicorn without the classes, methods and attributes that the server builds on.

    Raises:
        DependencyError: names the first of them that is missing, and the releases that have them.
    """
    if missing := _missing():
        raise DependencyError(
            f"The server extends uvicorn, and uvicorn {version('uvicorn')} has no {missing}.",
            hint=f"Install a release that was tested: pip install '{REQUIREMENT}'",
        )


def _missing() -> str:
    try:
        server: Any = import_module("uvicorn").Server
        protocol: Any = import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
    except (ImportError, AttributeError) as error:
        return f"Server or HttpToolsProtocol ({error})"
    for owner, names in ((server, ("capture_signals", "serve")), (protocol, _METHODS)):
        for name in names:
            if not callable(getattr(owner, name, None)):
                return f"{owner.__name__}.{name}"
    start = protocol.__init__
    if absent := sorted(_ARGUMENTS - set(inspect.signature(start).parameters)):
        return f"argument {absent[0]} of {protocol.__name__}"
    # Attributes of instances, which its constructor sets: those are not made without a connection.
    named = getattr(getattr(start, "__code__", None), "co_names", ())
    absent = sorted(set(_ATTRIBUTES) - set(named))
    return f"{protocol.__name__}.{absent[0]}" if absent else ""
