"""The ASGI application: routes, keys, origins, errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from deploykit.protocol.documents import json_object
from deploykit.protocol.errors import (
    BadRequestError,
    MethodError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    UnauthorizedError,
)
from deploykit.protocol.pictures import drawn, predict_response, read_pictures
from deploykit.protocol.responses import Response, failure, json_response
from deploykit.protocol.tensors import HEADER_LENGTH, read_request, write_response
from deploykit.serve import messages
from deploykit.serve.http.encoding import coding_for, compressed
from deploykit.serve.http.exchange import (
    DisconnectedError,
    Receive,
    Request,
    Scope,
    Send,
)
from deploykit.serve.http.openapi import openapi
from deploykit.serve.http.origin import OriginPolicy
from deploykit.serve.http.pages import page
from deploykit.serve.metrics import Metrics
from deploykit.serve.model import ServedModel
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository
from deploykit.serve.state import ServerState

__all__ = ["App"]

log = logging.getLogger("deploykit.serve.http")

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]

_OPEN = ("page", "health", "preflight")
"""Routes that need no key."""

_PACKED = ("page", "openapi", "metrics", "predict")
"""Routes whose answers are compressed for whoever can read them; the others only for who asks for it."""

_LONGEST_PATH = 256

_LARGE = 1 << 18
"""Bytes from which JSON and base64 are read and written in another thread than the event loop's."""


class App:
    """Answers HTTP requests.

    Args:
        repository, options, metrics, state: Of the server.
    """

    def __init__(
        self, repository: Repository, options: ServeOptions, metrics: Metrics, state: ServerState
    ) -> None:
        self._repository = repository
        self._options = options
        self._metrics = metrics
        self._state = state
        self._origins = OriginPolicy(options)
        state.answered = metrics.answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        started = perf_counter()
        request = Request(
            scope, receive, limit=self._options.max_body, patience=min(30.0, self._options.timeout_s)
        )
        route = "none"
        try:
            route, methods, handler = self._route(request)
            self._check(request, route, methods)
            response = await handler(request)
        except DisconnectedError:
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a response
            response = failure(error, log)
        response = await _packed(request, route, response)
        if self._options.cors:
            response = self._with_origin(request, response)
        self._tell(request, route, response.status, perf_counter() - started)
        await _send(send, response, with_body=request.method != "HEAD")

    def _check(self, request: Request, route: str, methods: tuple[str, ...]) -> None:
        """Refuse what can be refused without the body: a wrong verb, origin or key."""
        if request.method not in methods:
            raise MethodError(
                f"{route} takes {' or '.join(methods)}, found {request.method[:16]}.", allowed=methods
            )
        self._origins.check(request.method, request.headers)
        if route not in _OPEN and not self._options.accepts_key(request.headers.get("authorization", "")):
            raise UnauthorizedError("The server wants its key in the header `Authorization: Bearer KEY`.")

    def _tell(self, request: Request, route: str, status: int, seconds: float) -> None:
        self._metrics.answered("http", route, str(status), seconds)
        if log.isEnabledFor(logging.DEBUG):
            ms = round(1e3 * seconds, 3)
            fields = {"fields": {"route": route, "status": status, "ms": ms}}
            path = request.path[:_LONGEST_PATH]
            log.debug("%s %s %d %s ms", request.method, path, status, ms, extra=fields)

    def _route(self, request: Request) -> tuple[str, tuple[str, ...], Handler]:
        """The name of a route, its verbs, and its handler."""
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return "preflight", ("OPTIONS",), _fixed(Response(status=204))
        return self._find(request.segments)

    def _find(  # noqa: PLR0911, PLR0912 - one case for each route
        self, path: tuple[str, ...]
    ) -> tuple[str, tuple[str, ...], Handler]:
        get, post = ("GET", "HEAD"), ("POST",)
        match path:
            case ("v2", "models", name, "infer"):
                return "infer", post, lambda request: self._infer(request, name, "")
            case ("v2", "models", name, "versions", version, "infer"):
                return "infer", post, lambda request: self._infer(request, name, version)
            case ("v2", "models", name, "predict"):
                return "predict", post, lambda request: self._predict(request, name, "")
            case ("v2", "models", name, "versions", version, "predict"):
                return "predict", post, lambda request: self._predict(request, name, version)
            case ("v2", "health", "live"):
                return "health", get, self._live
            case ("v2", "health", "ready"):
                return "health", get, self._ready
            case ("v2",) | ("v2", ""):
                return "server", get, _constant(messages.server_metadata)
            case ("v2", "models", "stats"):
                return "statistics", get, _constant(lambda: messages.statistics(self._repository))
            case ("v2", "models", name):
                return "model", get, self._about(name, "", self._metadata)
            case ("v2", "models", name, "versions", version):
                return "model", get, self._about(name, version, self._metadata)
            case ("v2", "models", name, "versions", version, what):
                return self._part(name, version, what)
            case ("v2", "models", name, what):
                return self._part(name, "", what)
            case ("v2", "repository", "index"):
                return "index", post, self._index
            case ("v2", "repository", "models", name, "load"):
                return "load", post, lambda request: self._change(request, self._repository.load, name)
            case ("v2", "repository", "models", name, "unload"):
                return "unload", post, lambda request: self._change(request, self._repository.unload, name)
            case ("metrics",):
                return "metrics", get, self._render_metrics
            case ("openapi.json",):
                return "openapi", get, _constant(openapi)
            case (file,) if (static := page(file)) is not None:
                return "page", get, _fixed(static)
        raise NotFoundError(f"There is no path /{'/'.join(path)[:128]}.", hint="See /openapi.json.")

    def _part(self, name: str, version: str, what: str) -> tuple[str, tuple[str, ...], Handler]:
        tells: Mapping[str, Callable[[ServedModel], Any]] = {
            "config": messages.model_config,
            "card": messages.card,
            "ready": lambda model: {
                "name": model.name,
                "ready": not self._state.stopping.is_set(),
                **messages.reload_error(self._repository, model.name),
            },
            "stats": lambda model: messages.statistics(self._repository, model.name),
        }
        if what not in tells:
            raise NotFoundError(f"A model has no {what[:64]!r}.", hint="See /openapi.json.")
        return what, ("GET", "HEAD"), self._about(name, version, tells[what])

    def _about(self, name: str, version: str, tell: Callable[[ServedModel], Any]) -> Handler:
        async def handle(_request: Request) -> Response:
            return json_response(tell(self._repository.get(name, version)))

        return handle

    def _metadata(self, model: ServedModel) -> dict[str, Any]:
        return {**messages.model_metadata(model), **messages.reload_error(self._repository, model.name)}

    async def _live(self, _request: Request) -> Response:
        return json_response({"live": True})

    async def _ready(self, request: Request) -> Response:
        ready = self._repository.ready and not self._state.stopping.is_set()
        words = self._options.accepts_key(request.headers.get("authorization", ""))
        errors = messages.reload_errors(self._repository, words=words)
        return json_response({"ready": ready, **errors}, status=200 if ready else 503)

    async def _infer(self, request: Request, name: str, version: str) -> Response:
        model = self._model(request, name, version)
        body = await request.body()
        header = request.headers.get(HEADER_LENGTH)
        length = len(body) if header is None else _size(header)
        parsed = await _aside(length > _LARGE, read_request, body, header, model.inputs)
        # The model may have been replaced while the body came.
        model = self._repository.get(name, version)
        answer = await _while_there(request, model.infer(parsed.feeds, timeout=parsed.timeout))
        large = not parsed.binary and sum(array.nbytes for array in answer.outputs.values()) > _LARGE
        return await _aside(
            large, write_response, model.name, answer.version, model.placed, parsed, answer.outputs
        )

    async def _predict(self, request: Request, name: str, version: str) -> Response:
        model = self._model(request, name, version)
        body = await request.body()
        asked = await _aside(
            len(body) > _LARGE,
            read_pictures,
            bytes(body),
            request.headers.get("content-type", ""),
            request.query,
            self._options.max_images,
        )
        model = self._repository.get(name, version)
        answer = await _while_there(
            request, model.predict(asked.pictures, keep=int(asked.as_image), **asked.options)
        )
        if asked.as_image:
            accept = request.headers.get("accept", "")
            return await asyncio.to_thread(drawn, answer.results[0], answer.pictures[0], accept)
        return await asyncio.to_thread(
            predict_response,
            asked,
            model.name,
            answer.version,
            results=answer.results,
            placement=model.placement(),
            timing_ms=answer.timing_ms,
        )

    def _model(self, request: Request, name: str, version: str) -> ServedModel:
        """The model of a request whose body has not been read yet."""
        request.check_length()
        if self._state.stopping.is_set():
            raise NotReadyError("The server is stopping.")
        model = self._repository.get(name, version)
        if model.is_full:
            raise OverloadedError("The queue of the model is full.")
        return model

    async def _index(self, request: Request) -> Response:
        body = bytes(await request.body())
        asked = json_object(body) if body.strip() else {}
        ready = asked.get("ready", False)
        if not isinstance(ready, bool):
            raise BadRequestError(f"ready wants true or false, found {str(ready)[:32]!r}.")
        return json_response([state.to_dict() for state in self._repository.index(ready=ready)])

    async def _change(
        self, request: Request, change: Callable[[str], Awaitable[None]], name: str
    ) -> Response:
        if body := await request.body():
            json_object(body)
        await change(name)
        return json_response({})

    async def _render_metrics(self, _request: Request) -> Response:
        return Response(
            body=await asyncio.to_thread(self._metrics.render),
            content_type="text/plain; version=0.0.4; charset=utf-8",
        )

    def _with_origin(self, request: Request, response: Response) -> Response:
        """The headers that let pages from other origins read the answer (https://fetch.spec.whatwg.org/)."""
        origin = request.headers.get("origin", "")
        if not origin or not {"*", origin} & set(self._options.cors):
            return response
        allowed = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Inference-Header-Content-Length",
            "Access-Control-Expose-Headers": "Inference-Header-Content-Length, Retry-After",
            "Access-Control-Max-Age": "600",
            "Vary": ", ".join(filter(None, (response.headers.get("Vary"), "Origin"))),
        }
        return replace(response, headers={**response.headers, **allowed})


def _constant(value: Callable[[], Any]) -> Handler:
    async def handle(_request: Request) -> Response:
        return json_response(value())

    return handle


def _fixed(response: Response) -> Handler:
    async def handle(_request: Request) -> Response:
        return response

    return handle


def _size(header: str) -> int:
    return int(header) if header.isascii() and header.isdecimal() and len(header) < 20 else 0


async def _aside(large: bool, work: Callable[..., T], *args: Any) -> T:
    """Run work that would block the event loop in another thread."""
    return await asyncio.to_thread(work, *args) if large else work(*args)


async def _while_there(request: Request, work: Awaitable[T]) -> T:
    """Wait for an answer only as long as the client waits for it.

    Raises:
        DisconnectedError: the client went away.
    """
    task = asyncio.current_task()
    assert task is not None

    def cancel(_gone: asyncio.Future[None]) -> None:
        task.cancel()

    request.gone.add_done_callback(cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if not request.gone.done():
            raise
        task.uncancel()
        raise DisconnectedError from None
    finally:
        request.gone.remove_done_callback(cancel)


async def _packed(request: Request, route: str, response: Response) -> Response:
    """The answer, compressed if the client asks for it."""
    response = replace(response, headers={**response.headers, "Vary": "Accept-Encoding"})
    coding = coding_for(request.headers.get("accept-encoding", ""), alone=route not in _PACKED)
    if coding is None:
        return response
    return await _aside(len(response.body) > _LARGE, compressed, response, coding)


async def _send(send: Send, response: Response, *, with_body: bool) -> None:
    headers = [(b"content-length", str(len(response.body)).encode())]
    if response.status != 204:
        headers.append((b"content-type", response.content_type.encode()))
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})
