"""The life of a server, from opening its sockets to its end."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.machine.scratch import discard_scratch

from deploykit.process.wishes import Wishes
from deploykit.serve.http.app import App
from deploykit.serve.http.protocol import make_protocol
from deploykit.serve.metrics import Metrics
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository
from deploykit.serve.state import ServerState

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["Server", "in_thread", "run"]

log = logging.getLogger("deploykit.serve")

_BACKLOG = 2048
_HEAD_TIMEOUT_S = 60.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Http(uvicorn.Server):
    """Uvicorn without its signal handlers, since the server has its own."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


class Server:
    """Models behind HTTP and gRPC, in one event loop.

    Args:
        models: Paths of models by name; see ``deploykit.model_names.named_models``.
        options: How the models are served.
    """

    def __init__(self, models: Mapping[str, Path], options: ServeOptions) -> None:
        self.options = options
        self.state = ServerState()
        self.repository = Repository(models, options, on_event=log.info)
        self.metrics = Metrics(self.repository)
        self._http: _Http | None = None
        self._serving: asyncio.Task[None] | None = None
        self._grpc: Any = None

    @property
    def url(self) -> str:
        """The URL of the HTTP server."""
        return f"http://{_bracketed(self.options.host)}:{self.state.port}"

    @property
    def grpc_address(self) -> str:
        """The address of the gRPC server; empty if there is none."""
        return f"{_bracketed(self.options.host)}:{self.state.grpc_port}" if self.state.grpc_port else ""

    async def start(self) -> None:
        """Listen, then load every model. The server is live at once, and ready when this returns.

        Raises:
            OptionError: an address cannot be bound.
            DeploykitError: a model cannot be loaded; the server then stops listening.
        """
        self._warn()
        listening = _listen(self.options.host, self.options.port)
        self.state.port = listening.getsockname()[1]
        app = App(self.repository, self.options, self.metrics, self.state)
        config = uvicorn.Config(
            app,
            http=make_protocol(max_body=self.options.max_body, head_timeout=_HEAD_TIMEOUT_S),
            ws="none",
            loop="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            # A client that does not read its answers must not hold up the end.
            timeout_graceful_shutdown=math.ceil(self.options.timeout_s) + 1,
        )
        self._http = _Http(config)
        self._serving = asyncio.create_task(self._http.serve(sockets=[listening]))
        try:
            while not self._http.started and not self._serving.done():
                await asyncio.sleep(0.001)
            if self.options.grpc_port is not None:
                from deploykit.serve.grpc.service import start_grpc

                self._grpc = await start_grpc(self.repository, self.options, self.state)
            await self.repository.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Accept nothing more, answer accepted requests, and free the models."""
        self.state.stopping.set()
        stopping = []
        if self._http is not None and self._serving is not None:
            self._http.should_exit = True
            stopping.append(self._serving)
        if self._grpc is not None:
            stopping.append(asyncio.ensure_future(self._grpc.stop(self.options.timeout_s)))
        await asyncio.gather(*stopping)
        await self.repository.close()

    def _warn(self) -> None:
        if self.options.host not in _LOOPBACK and not self.options.api_keys:
            log.warning("everyone who reaches %s may use the models: give --api-key-file", self.options.host)


def run(
    models: Mapping[str, Path],
    options: ServeOptions,
    *,
    on_ready: Callable[[Server], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second one, at least a second later, ends the server at once.

    Args:
        models: Paths of models by name.
        options: How the models are served.
        on_ready: Called once, when every model is loaded.

    Raises:
        DeploykitError: the server cannot start.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_until_stopped(Server(models, options), on_ready))


async def _until_stopped(server: Server, on_ready: Callable[[Server], None] | None) -> None:
    loop = asyncio.get_running_loop()
    told, wishes = asyncio.Event(), Wishes()
    starting = asyncio.create_task(server.start())

    def stop(number: int) -> None:
        if not wishes.is_new(number):
            return
        if told.is_set():
            log.warning("stopped a second time: requests are dropped")
            discard_scratch()
            signal.raise_signal(signal.SIGKILL)
        told.set()
        if not starting.done():
            starting.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await starting
    except asyncio.CancelledError:
        if told.is_set():
            return
        raise
    if on_ready is not None:
        on_ready(server)
    await told.wait()
    models = server.repository.models
    log.info("stopping: %d requests under way", sum(model.in_flight for model in models))
    await server.stop()
    for model in models:
        counts = model.statistics.to_dict()["inference_stats"]
        answered, failed = counts["success"]["count"], counts["fail"]["count"]
        log.info("%s version %s: %d answered, %d failed", model.name, model.version, answered, failed)
    log.info("stopped")


@contextmanager
def in_thread(models: Mapping[str, Path], options: ServeOptions) -> Iterator[Server]:
    """A server in a thread of its own, ready when the block starts and stopped when it ends.

    Raises:
        DeploykitError: the server cannot start.
    """
    server = Server(models, options)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="deploykit-server")
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(server.start(), loop).result()
            try:
                yield server
            finally:
                asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OptionError(
            f"HTTP cannot listen on {host}:{port}: {error.strerror or error}.",
            hint="Choose another address with --host and --port, or stop what uses it.",
        ) from error
    listening.setblocking(False)
    return listening


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
