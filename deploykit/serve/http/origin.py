"""Which web pages may use a server that needs no key.

A browser sends any request that a page makes to ``http://localhost:8000``, and only hides the answer from
pages of other origins. So a page could load and unload models. A page whose owner makes its name
resolve to 127.0.0.1 after it was loaded (DNS rebinding) even has the same origin, and can read the
answers. Programs other than browsers send no origin, and the host that they were given.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from deploykit.protocol.errors import ForbiddenError
from deploykit.serve.options import ServeOptions

__all__ = ["OriginPolicy"]

_SAFE = ("GET", "HEAD", "OPTIONS")


class OriginPolicy:
    """The conditions on the headers ``Origin`` and ``Host`` of a request.

    With a key, neither is needed, since no browser adds it by itself. Pages of the origins in
    ``options.cors`` may use the server, also under the host names of these origins, which a server
    behind a proxy needs.

    Args:
        options: Options of the server.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._open = bool(options.api_keys) or "*" in options.cors
        self._origins = frozenset(options.cors)
        names = (origin.partition("://")[2] for origin in options.cors)
        self._hosts = frozenset(map(_name, (options.host, *names)))
        self._on_loopback = _is_loopback(options.host)

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse a request for another host name than the server's, or from a page of another origin.

        Raises:
            ForbiddenError: it is such a request.
        """
        if self._open:
            return
        host = headers.get("host", "")
        if self._on_loopback and not self._is_ours(host):
            raise ForbiddenError(
                f"The server listens on the loopback interface, found a request for the host {host[:64]!r}.",
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
        """Whether a host cannot have been chosen by a page's owner: names can resolve to anything,
        addresses cannot.
        """
        name = _name(host)
        return not name or name in self._hosts or _is_loopback(name) or _is_address(name)


def _name(host: str) -> str:
    """A ``Host`` header without its port and brackets, in lower case."""
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
