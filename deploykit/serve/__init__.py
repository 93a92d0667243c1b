"""The model server: the Open Inference Protocol over HTTP and gRPC, an endpoint for pictures, and a page.

    deploykit.serve.serve("yolo11n.onnx", port=8000)                 # until SIGTERM or Ctrl-C

    with deploykit.serve.running("yolo11n.onnx", port=0) as server:  # in a thread of its own
        print(server.url)

Importing this package loads none of what serving needs (``pip install 'deploykit[serve,cpu]'``).

grpc/          The gRPC side of the server: the Open Inference Protocol and the health service
http/          The HTTP side of the server: an ASGI application
aside.py       Blocking work outside the event loop, which may take minutes or never end
batching.py    Sends the requests of one model through its engine: a bounded queue, batches of like
               requests, several instances
logs.py        The server's log: readable lines, or JSON for a collector
messages.py    What the server says about itself and its models, as JSON values that REST and gRPC share
metrics.py     Numbers for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/)
model.py       One loaded version of one model, with its engine, queue and statistics
opening.py     Opening a model whose file may contain anything, so that only the attempt can fail
options.py     The options of a server, shared by the command line and Python
repository.py  The models of a server by name: loading, unloading, and reloading of changed files
server.py      The life of a server, from opening its sockets to its end
state.py       The state that the HTTP and gRPC sides of a server share
statistics.py  Counts and times of a model's requests, as Triton's statistics extension names them
watched.py     Whether the files of a model have changed, determined without opening them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.optional import require

if TYPE_CHECKING:
    from deploykit.serve.options import ServeOptions
    from deploykit.serve.server import Server

__all__ = ["running", "serve"]

_PACKAGES = ("uvicorn", "httptools", "orjson", "prometheus_client", "python_multipart", "grpc", "grpc_health")


def serve(
    models: str | Path | Iterable[str | Path],
    *,
    device: str | int | None = None,
    options: ServeOptions | None = None,
    on_ready: Callable[[Server], None] | None = None,
    **settings: Any,
) -> None:
    """Serve models until SIGTERM or SIGINT; requests that were accepted are answered first.

    Args:
        models: Files or built folders; ``NAME=PATH`` gives one another name than its file's.
        device: The device as torch and Ultralytics call it, as for ``deploykit.load``.
        options: All options in one object; keywords take precedence.
        on_ready: Called once, when every model is loaded and warm.
        settings: Any field of ``ServeOptions``, documented there.

    Raises:
        OptionError: an option is out of range, or an address cannot be bound.
        ModelError, RuntimeUnavailableError: a model cannot run.
        DependencyError: a package is missing.
    """
    _check_packages()
    from deploykit.model_names import named_models
    from deploykit.serve.server import run

    named = named_models(models)
    run(named, _options(options, device, settings, named), on_ready=on_ready)


def running(
    models: str | Path | Iterable[str | Path],
    *,
    device: str | int | None = None,
    options: ServeOptions | None = None,
    **settings: Any,
) -> AbstractContextManager[Server]:
    """A server in a thread of its own, for tests and notebooks; see ``serve``.

    Returns:
        A context manager whose block starts when the server is ready; ``.url`` and ``.grpc_address`` give
            its addresses.
    """
    _check_packages()
    from deploykit.model_names import named_models
    from deploykit.serve.server import in_thread

    named = named_models(models)
    return in_thread(named, _options(options, device, settings, named))


def _options(
    options: ServeOptions | None, device: object, settings: Mapping[str, Any], models: Mapping[str, Path]
) -> ServeOptions:
    from dataclasses import fields

    from deploykit_runtimes.devices import chosen_runtime
    from deploykit_runtimes.errors import OptionError
    from deploykit_runtimes.options.arguments import refuse_unknown, suggestion
    from deploykit_runtimes.options.option import put_over

    from deploykit.serve.options import ServeOptions

    refuse_unknown(settings, ["device", *(field.name for field in fields(ServeOptions))], where="serve")
    runtime, given = chosen_runtime(settings.get("runtime"), device, settings, default="")
    chosen = put_over(options, ServeOptions, {**given, "runtime": runtime} if runtime else given)
    for text in chosen.outputs:
        name, is_named, _ = text.rpartition("=")
        if is_named and name not in models:
            raise OptionError(
                f"--outputs {text}: no model is named {name!r}, found {', '.join(models)}.",
                hint=suggestion(name, list(models)),
            )
    return chosen


def _check_packages() -> None:
    for package in _PACKAGES:
        require(package, extra="serve", purpose="serve models")
    from deploykit.serve.http.uvicorn_form import check_uvicorn

    check_uvicorn()
