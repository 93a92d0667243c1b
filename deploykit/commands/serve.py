"""``deploykit serve``: models behind HTTP and gRPC."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from deploykit_runtimes.machine.memory_limit import share_memory

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, existing_file, runtime_option
from deploykit.process.wishes import Wishes
from deploykit.serve.options import ServeOptions, read_keys
from deploykit.terminal import echo, echo_json, pairs, strong

if TYPE_CHECKING:
    from deploykit.serve.server import Server

__all__ = ["command"]


@click.command(
    "serve",
    cls=Command,
    short_help="Serve models over HTTP and gRPC.",
    examples=(
        "deploykit serve best.onnx",
        "deploykit serve cats=cats.onnx dogs=dogs.onnx --host 0.0.0.0 --api-key-file keys.txt",
    ),
)
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL...", shell_complete=files)
@click_options(ServeOptions, "host", "port", "grpc_port")
@click.option("--no-grpc", is_flag=True, help="Serve only HTTP.")
@runtime_option
@click_options(ServeOptions, without=("host", "port", "grpc_port", "runtime"))
@click.option("--api-key-file", type=existing_file, metavar="FILE", help="Bearer keys, one per line.")
@common
def command(
    *,
    models: tuple[str, ...],
    no_grpc: bool,
    grpc_port: int,
    api_key_file: Path | None,
    json_output: bool,
    **settings: Any,
) -> int:
    """Serve models over the Open Inference Protocol (KServe V2) and at an endpoint for pictures.

    Each MODEL is an .onnx file or a folder that `deploykit build` wrote. A file that changes is loaded anew
    without a lost request. SIGTERM and Ctrl-C answer what was accepted, then end.
    """
    share_memory()
    # grpc writes lines of its own to stderr, which no reader of the log expects.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with _ended_by_sigterm():
        from deploykit.serve import serve
        from deploykit.serve.logs import start_log

        keys = read_keys(api_key_file) if api_key_file else ()
        log = start_log(as_json=settings["log_json"], level=settings["log_level"])

        def on_ready(server: Server) -> None:
            try:
                if json_output:
                    echo_json(_document(server))
                else:
                    echo(*_banner(server))
            except OSError as error:  # whoever started the server reads no more
                log.warning("where it listens cannot be printed: %s", error.strerror or error)
                _silence_stdout()

        serve(
            models,
            grpc_port=None if no_grpc else grpc_port,
            api_keys=keys,
            on_ready=on_ready,
            **{name: value for name, value in settings.items() if value is not None},
        )
    return 0


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Exit with 0 if SIGTERM arrives before the server handles signals."""

    wishes = Wishes()

    def end(signum: int, _frame: FrameType | None) -> None:
        if wishes.is_new(signum):
            raise SystemExit(0)

    # In another thread than the main one, whoever embeds the command line owns the signals.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _silence_stdout() -> None:
    """Discard what is still to be printed; the interpreter flushes its streams when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _document(server: Server) -> dict[str, object]:
    return {
        "url": server.url,
        "grpc": server.grpc_address or None,
        "models": [
            {
                "name": model.name,
                "version": model.version,
                "path": str(model.path),
                "task": model.spec.task,
                "instances": model.instances,
                "placement": model.placement().to_dict(),
            }
            for model in server.repository.models
        ],
    }


def _banner(server: Server) -> list[str]:
    models = server.repository.models
    rows = [("page", f"{server.url}/"), ("http", f"{server.url}/v2")]
    if server.grpc_address:
        rows.append(("grpc", server.grpc_address))
    rows += [(model.name, f"{model.spec.task}, {model.placement()}") for model in models]
    key = '-H "Authorization: Bearer KEY" ' if server.options.api_keys else ""
    rows.append(("try", f"curl {key}-F image=@photo.jpg {server.url}/v2/models/{models[0].name}/predict"))
    return [strong(f"serving {len(models)} model{'s' * (len(models) > 1)}"), *pairs(rows)]
