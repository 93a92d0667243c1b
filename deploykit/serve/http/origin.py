"""Which web pages may use a server that wants no key.

A browser sends what any page asks of ``http://localhost:8000``: it only keeps the answer from pages of other
origins. So a page could load and unload models. And a page whose name its owner resolves to 127.0.0.1 after
it was loaded (DNS rebinding) is of the same origin, and reads the answers too. Programs other than browsers
name no origin, and the host as they were told it.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from deploykit.protocol.errors import ForbiddenError
from deploykit.serve.options import ServeOptions

__all__ = ["OriginPolicy"]

_SAFE = ("GET", "HEAD", "OPTIONS")


class OriginPolicy:
    """What the headers ``Origin`` and ``Host`` of a request must be.

    A key makes both needless, since no browser adds it by itself. Pages of the origins in ``options.cors``
    may use the server, also under the names of these origins, which is how one behind a proxy is reached.

    Args:
        options: Of the server.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._open = bool(options.api_keys) or "*" in options.cors
        self._origins = frozenset(options.cors)
        names = (origin.partition("://")[2] for origin in options.cors)
        self._hosts = frozenset(map(_name, (options.host, *names)))
        self._on_loopback = _is_loopback(options.host)

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse a request for a name that is not the server's, or by a page of another origin.

        Raises:
            ForbiddenError: it is such a request.
        """
        if self._open:
            return
        host = headers.get("host", "")
        if self._on_loopback and not self._is_ours(host):
            raise ForbiddenError(
                f"The server listens on the loopback, found a request for the host {host[:64]!r}.",
                hint="Ask for localhost; or start the server with --cors and the origin, or with a key.",
            )
        origin = headers.get("origin")
        if origin is None or method in _SAFE or origin in self._origins:
            return
        if not host or origin.lower().partition("://")[2] != host.lower():
            raise ForbiddenError(
                f"Pages of {origin[:64]!r} may not change what runs here.",
                hint="Start the server with --cors and this origin, or with a key.",
            )

    def _is_ours(self, host: str) -> bool:
        """Whether a page cannot have chosen it: names can be resolved to anywhere, addresses cannot."""
        name = _name(host)
        return not name or name in self._hosts or _is_loopback(name) or _is_address(name)


def _name(host: str) -> str:
    """A header ``Host`` without its port and brackets, in lower case."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return (text if text.count(":") > 1 else text.partition(":")[0]).removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    local = name == "localhost" or name.endswith(".localhost")
    return local or (_is_address(name) and ip_address(name).is_loopback)
