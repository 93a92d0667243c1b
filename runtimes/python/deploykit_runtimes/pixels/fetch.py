"""A picture behind an http(s) URL, within limits of bytes, time and redirects.

Everything that the far side chooses is bounded, and nothing of a URL that may be secret (a password, the
query) gets into a message.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.error import URLError
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.urls import shown_url

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

__all__ = ["FetchLimits", "fetch"]

_CHUNK = 1 << 16
_NO_PICTURE = ("text/", "audio/", "video/", "multipart/", "application/json", "application/xml")
_NO_PICTURE_ENDINGS = ("+json", "+xml")
_REDIRECTS = (301, 302, 303, 307, 308)
_ADVICE = {
    401: "It wants a user and password: https://USER:PASSWORD@HOST/PATH.",
    403: "The server denies access to programs, or to you.",
    404: "There is nothing at this address.",
}
_CONNECT_SECONDS = 10.0
"""For each address of a host."""
_SENT = {"User-Agent": "deploykit", "Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """What one picture behind a URL may take.

    Attributes:
        size: Bytes of its file.
        seconds: Time for all of it: connecting, redirects and reading. Looking the host's name up takes as
            long as the system allows.
        redirects: How often the server may point elsewhere.
    """

    size: int = 64 << 20
    seconds: float = 30.0
    redirects: int = 5


def fetch(url: str, *, limits: FetchLimits | None = None) -> bytes:
    """The bytes of the picture behind an http or https URL.

    A user and password in the URL are sent as basic authentication, to its own host alone. Proxies of the
    environment (``http_proxy``, ``https_proxy``, ``no_proxy``) are used. Redirects are followed to http and
    https only, not from https to http, and not from a public host to a private address.

    Args:
        url: ``http://...`` or ``https://...``.
        limits: What it may take; None: 64 MiB, 30 s, 5 redirects.

    Raises:
        InputError: there is no answer, one that is not a picture, or one beyond the limits.
    """
    limits = limits or FetchLimits()
    name = shown_url(url)
    first = address = _address(url)
    with _Deadline(limits.seconds) as deadline, _told(name, limits, deadline):
        opener = _opener(deadline)
        for _ in range(limits.redirects + 1):
            with _ask(opener, address, first, deadline) as answer:
                if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                    return _body(answer, name, limits, deadline)
                address = _redirected(address, answer.headers["Location"], name)
                deadline.redirected = True
    raise InputError(
        f"{name} is redirected more than {limits.redirects} times.", hint="Give the address it leads to."
    )


def _ask(opener: OpenerDirector, address: SplitResult, first: SplitResult, deadline: _Deadline) -> Any:
    """The answer's head; its body is not read yet."""
    from urllib.request import Request

    request = Request(_sent_url(address), headers=_SENT)  # noqa: S310 - http and https alone come here
    given = address if address.username is not None else first
    if given.username is not None and _origin(given) == _origin(address):
        request.add_unredirected_header("Authorization", _basic(given))
    return opener.open(request, timeout=deadline.patience)


def _redirected(address: SplitResult, location: str, name: str) -> SplitResult:
    """Where a redirect leads, if it is followed."""
    target = urljoin(_sent_url(address), location)
    scheme = target.partition(":")[0].lower()
    if scheme not in ("http", "https") or (address.scheme, scheme) == ("https", "http"):
        raise InputError(
            f"{name} is redirected to {scheme}:, which is not followed.",
            hint="Download it first, and give its path.",
        )
    return _address(target)


def _address(url: str) -> SplitResult:
    """The parts of a URL that can be fetched."""
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise InputError(
            f"Wanted a picture at http:// or https://, found {scheme}://.",
            hint="Give a file by its path." if scheme == "file" else "Fetch it first, and give its path.",
        )
    try:
        address = urlsplit(url.strip())
        usable = bool(address.hostname) and address.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"{shown_url(url)} is not a URL of a host.", hint="Write https://HOST/PATH.")
    return address


def _origin(address: SplitResult) -> tuple[str, str | None, int]:
    return address.scheme, address.hostname, address.port or (443 if address.scheme == "https" else 80)


def _sent_url(address: SplitResult) -> str:
    """The URL as it is asked for: ASCII, without user and password."""
    host = address.netloc.rpartition("@")[2]
    if not host.isascii():
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode()
    path = quote(address.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(address.query, safe="/%:@!$&'()*+,;=~-._?")
    return address._replace(netloc=host, path=path, query=query, fragment="").geturl()


def _basic(address: SplitResult) -> str:
    pair = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _body(answer: Any, name: str, limits: FetchLimits, deadline: _Deadline) -> bytes:
    if not 200 <= answer.status < 300:
        told = f"{answer.status} {http.client.responses.get(answer.status, '')}".rstrip()
        raise InputError(f"{name} answers {told}.", hint=_ADVICE.get(answer.status, ""))
    kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else ""
    if kind.startswith(_NO_PICTURE) or kind.endswith(_NO_PICTURE_ENDINGS):
        raise InputError(
            f"Wanted a picture, but {name} answers with {kind}.",
            hint="Give the URL of the picture itself, not of the page that shows it.",
        )
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise InputError(f"{name} answers in the encoding {coding}, which was not asked for.")
    declared = answer.headers.get("Content-Length", "")
    length = int(declared) if declared.isascii() and declared.isdecimal() and len(declared) < 20 else None
    if length is not None and length > limits.size:
        raise _too_large(name, limits)
    parts, read = [], 0
    while part := answer.read1(_CHUNK):
        read += len(part)
        if read > limits.size:
            raise _too_large(name, limits)
        deadline.check()
        parts.append(part)
    deadline.check()
    if read == 0 or (length is not None and read < length):
        wanted = f" of {length:,}" if length else ""
        raise InputError(f"{name} ended after {read:,}{wanted} bytes.", hint="Try again.")
    return b"".join(parts)


def _too_large(name: str, limits: FetchLimits) -> InputError:
    return InputError(
        f"{name} is larger than the limit of {limits.size:,} bytes.",
        hint="If you trust it, download it first, and give its path.",
    )


@contextlib.contextmanager
def _told(name: str, limits: FetchLimits, deadline: _Deadline) -> Iterator[None]:
    """Says what went wrong, in words without the URL's secrets."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        if deadline.passed or isinstance(_cause(error), TimeoutError):
            raise InputError(
                f"{name} did not arrive within {limits.seconds:g} s.",
                hint="Download it first, and give its path.",
            ) from None
        raise InputError(
            f"{name} cannot be fetched: {_reason(error)}.", hint="Check the address and the network."
        ) from None


def _cause(error: BaseException) -> object:
    return error.reason if isinstance(error, URLError) else error


def _reason(error: BaseException) -> str:
    """Why, in words that quote nothing of the request."""
    cause = _cause(error)
    if isinstance(cause, socket.gaierror):
        return f"its host is not known ({cause.strerror})"
    if isinstance(cause, http.client.HTTPException | ValueError):
        return f"what its server sent is not HTTP ({type(cause).__name__})"
    return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__


class _Deadline:
    """Ends connections when the time is over, also one whose server sends a byte now and then."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True
        self._sockets: list[socket.socket] = []
        self._public = False
        self.redirected = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        for connection in self._sockets:
            connection.close()

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._end

    @property
    def patience(self) -> float:
        """Seconds to wait for a connection."""
        return max(0.001, min(self._end - time.monotonic(), _CONNECT_SECONDS))

    def check(self) -> None:
        """Raise ``TimeoutError`` when the time is over."""
        if self.passed:
            raise TimeoutError

    def connected(self, connection: socket.socket) -> None:
        """Take a new connection, on which nothing is said yet."""
        # A copy: TLS takes the descriptor out of the socket. Both end the same connection.
        self._sockets.append(connection.dup())
        self.check()
        connection.settimeout(max(0.001, self._end - time.monotonic()))
        public = _is_public(connection)
        if self.redirected and self._public and not public:
            raise InputError(
                "A redirect from a public host to a private address is not followed.",
                hint="Give the private address itself, if that is meant.",
            )
        self._public = public

    def _shut(self) -> None:
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _is_public(connection: socket.socket) -> bool:
    address = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_global


def _opener(deadline: _Deadline) -> OpenerDirector:
    """urllib's, for http and https alone. Redirects and errors come back as answers."""
    from urllib import request

    class Watched(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            deadline.connected(self.sock)

    class WatchedTls(http.client.HTTPSConnection, Watched):
        """Watched from before its handshake: the parent calls ``Watched.connect``, then speaks TLS."""

    class Http(request.HTTPHandler):
        def http_open(self, asked: request.Request) -> http.client.HTTPResponse:
            return self.do_open(Watched, asked)

    class Https(request.HTTPSHandler):
        def https_open(self, asked: request.Request) -> http.client.HTTPResponse:
            return self.do_open(WatchedTls, asked)

    opener = request.OpenerDirector()
    for handler in (request.ProxyHandler(), Http(), Https()):
        opener.add_handler(handler)
    return opener
