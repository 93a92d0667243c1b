"""Pictures behind URLs: what is fetched, what is refused, within which limits."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels import fetch as module
from deploykit_runtimes.pixels.fetch import FetchLimits, fetch

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300
QUICK = FetchLimits(seconds=0.5)


class Server:
    """Answers each path with a function of its own; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, dict(self.headers)))
                with suppress(OSError):  # the client went away
                    getattr(outer, self.path.strip("/").partition("?")[0].partition("/")[0])(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def answer(to: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
        to.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    def picture(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, PICTURE, Content_Type="image/png")

    def untyped(self, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.end_headers()
        to.wfile.write(PICTURE)

    def page(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, b"<html>", Content_Type="text/html; charset=utf-8")

    def packed(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, b"xx", Content_Encoding="gzip")

    def nothing(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, b"")

    def missing(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, b"no such picture", 404)

    def locked(self, to: BaseHTTPRequestHandler) -> None:
        wanted = "Basic " + base64.b64encode(b"me:pass word").decode()
        if to.headers.get("Authorization") == wanted:
            self.picture(to)
        else:
            self.answer(to, b"", 401)

    def truncated(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, PICTURE[:1000], Content_Length=str(len(PICTURE)))
        to.close_connection = True

    def huge(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, b"", Content_Length="99999999999")

    def endless(self, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.end_headers()
        while not self.closing.is_set():
            to.wfile.write(PICTURE)

    def silent(self, to: BaseHTTPRequestHandler) -> None:
        self.closing.wait(20)

    def dripping(self, to: BaseHTTPRequestHandler) -> None:
        """A head that never ends, each byte of it in good time."""
        to.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not self.closing.wait(0.02):
            to.wfile.write(b"x")

    def trickle(self, to: BaseHTTPRequestHandler) -> None:
        """A body of the same kind."""
        to.send_response(200)
        to.send_header("Content-Length", "1000000")
        to.end_headers()
        while not self.closing.wait(0.02):
            to.wfile.write(b"x")

    def garbage(self, to: BaseHTTPRequestHandler) -> None:
        to.wfile.write(b"\x1b]0;secret\x07 is not HTTP\r\n\r\n")

    def moved(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, b"", 302, Location="picture")

    def loop(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, b"x", 307, Location="/loop")

    def away(self, to: BaseHTTPRequestHandler) -> None:
        self.answer(to, b"", 302, Location=to.path.removeprefix("/away/"))

    def fat(self, to: BaseHTTPRequestHandler) -> None:
        """A redirect with a body that must not be read."""
        self.answer(to, b"", 302, Location="/picture", Content_Length="99999999999")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.mark.parametrize("path", ["picture", "untyped", "moved", "fat", "picture?size=large&x=a b#part"])
def test_a_picture_arrives_whole(server: Server, path: str) -> None:
    assert fetch(f"{server.url}/{path}") == PICTURE


def test_the_path_is_asked_for_in_ascii(server: Server) -> None:
    fetch(f"{server.url}/picture/Straße mit%20Katze.png?q=ä")
    assert server.asked[0][0] == "/picture/Stra%C3%9Fe%20mit%20Katze.png?q=%C3%A4"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("page", "Wanted a picture, but .*/page answers with text/html"),
        ("packed", "in the encoding gzip"),
        ("nothing", "ended after 0 bytes"),
        ("missing", "answers 404 Not Found"),
        ("truncated", "ended after 1,000 of 76,808 bytes"),
        ("huge", "larger than the limit of 67,108,864 bytes"),
        ("loop", "redirected more than 5 times"),
        ("away/file:///etc/passwd", "redirected to file:"),
        ("away/ftp://127.0.0.1/a", "redirected to ftp:"),
        ("away/gopher://a", "redirected to gopher:"),
        ("away/http://:80/a", "not a URL of a host"),
        ("garbage", "not HTTP"),
    ],
)
def test_what_is_not_a_picture_is_refused(server: Server, path: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        fetch(f"{server.url}/{path}")
    assert caught.value.hint or path in ("packed",)
    assert "\x1b" not in str(caught.value)


def test_a_body_without_a_length_ends_at_the_limit(server: Server) -> None:
    with pytest.raises(InputError, match="limit of 1,000,000 bytes"):
        fetch(f"{server.url}/endless", limits=FetchLimits(size=1_000_000))


@pytest.mark.parametrize("path", ["silent", "dripping", "trickle"])
def test_the_time_is_that_of_the_whole(server: Server, path: str) -> None:
    """Also where every single byte comes in time."""
    with pytest.raises(InputError, match=r"did not arrive within 0\.5 s"):
        fetch(f"{server.url}/{path}", limits=QUICK)


def test_no_limit_leaves_a_thread_behind(server: Server) -> None:
    fetch(f"{server.url}/picture", limits=FetchLimits(seconds=1000))
    deadline = time.monotonic() + 300
    while any(type(thread) is threading.Timer for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_user_and_password_open_the_picture_and_stay_secret(server: Server) -> None:
    url = server.url.replace("//", "//me:pass%20word@")
    assert fetch(f"{url}/locked?token=hidden") == PICTURE
    with pytest.raises(InputError, match="answers 401 Unauthorized") as caught:
        fetch(f"{server.url.replace('//', '//me:wrongpass@')}/locked?token=hidden")
    assert not {"wrongpass", "hidden"} & set(str(caught.value).replace("=", " ").replace(":", " ").split())
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_password_stays_with_its_host(server: Server) -> None:
    other = server.url.replace("127.0.0.1", "localhost")
    with_password = server.url.replace("//", "//me:pass%20word@")
    assert fetch(f"{with_password}/away/{other}/picture") == PICTURE
    assert [("Authorization" in headers) for _, headers in server.asked] == [True, False]
    server.asked.clear()
    assert fetch(f"{with_password}/away/{server.url}/locked") == PICTURE


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file:///etc/passwd", "found file://"),
        ("ftp://host/a.jpg", "found ftp://"),
        ("s3://bucket/a.jpg", "found s3://"),
        ("http://", "not a URL"),
        ("http://:80/a", "not a URL"),
        ("http://host:notaport/a", "not a URL"),
        ("http://[::1/a", "not a URL"),
        ("http://127.0.0.1:1/a.jpg", "cannot be fetched: Connection refused"),
        ("http://no-such-host.invalid/a.jpg", "its host is not known"),
    ],
)
def test_what_is_no_such_url_is_refused(url: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        fetch(url)
    assert caught.value.hint


def test_a_public_host_cannot_lead_to_a_private_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(module, "_is_public", lambda connection: next(answers))
    with pytest.raises(InputError, match="from a public host to a private address"):
        fetch(f"{server.url}/moved")
    assert [path for path, _ in server.asked] == ["/moved"]


def test_https_does_not_fall_back_to_http() -> None:
    follow: Callable[..., object] = module._redirected
    with pytest.raises(InputError, match="redirected to http:"):
        follow(module._address("https://host/a"), "http://host/a", "https://host/a")


def test_a_server_without_tls_is_told(server: Server) -> None:
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch(server.url.replace("http:", "https:") + "/picture")


def test_a_tls_handshake_that_never_comes_ends_in_time() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match=r"did not arrive within 0\.5 s"):
            fetch(f"https://127.0.0.1:{port}/a.jpg", limits=QUICK)
