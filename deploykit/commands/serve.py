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

from deploykit.commands.shared.completing import files, readings
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import (
    common,
    exact_option,
    existing_file,
    gpu_option,
    runtime_option,
    strict_option,
    threads_option,
)
from deploykit.process.wishes import Wishes
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
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="For HTTP; 0: a free one."
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    default=8001,
    show_default=True,
    help="For gRPC; 0: a free one.",
)
@click.option("--no-grpc", is_flag=True, help="Serve HTTP alone.")
@runtime_option
@click.option(
    "--outputs",
    multiple=True,
    metavar="[NAME=]READING",
    shell_complete=readings,
    help="What the outputs of another exporter's model mean, as in predict; repeatable, per model.",
)
@threads_option
@strict_option
@exact_option
@gpu_option
@click.option(
    "--max-batch",
    type=click.IntRange(1),
    metavar="N",
    help="Most rows that run together. Default: 8, and 1 on a CPU, where batches gain nothing.",
)
@click.option(
    "--max-delay",
    "max_delay_ms",
    type=click.FloatRange(0),
    default=0.0,
    metavar="MS",
    help="Longest wait for a batch to fill. Default: 0.",
)
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    metavar="N",
    help="Most requests that wait per model.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Runs side by side per model. Default: one per core on a CPU, else 1.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Longest time of a request.",
)
@click.option("--api-key-file", type=existing_file, metavar="FILE", help="Bearer keys, one on each line.")
@click.option("--cors", multiple=True, metavar="ORIGIN", help="Web origin that may call, or *; repeatable.")
@click.option(
    "--max-body",
    "max_body_mb",
    type=click.FloatRange(0, min_open=True),
    default=64.0,
    show_default=True,
    metavar="MB",
    help="Largest request.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=50_000_000,
    show_default=True,
    metavar="N",
    help="Most pixels of a picture.",
)
@click.option(
    "--poll",
    "poll_s",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="S",
    help="How often files are looked at for changes; 0: never.",
)
@click.option("--log-json", is_flag=True, help="Log in lines of JSON.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="From which level on; debug has a line for each request.",
)
@common
def command(
    *,
    models: tuple[str, ...],
    no_grpc: bool,
    grpc_port: int,
    api_key_file: Path | None,
    json_output: bool,
    **options: Any,
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
        from deploykit.serve.options import ServeOptions, read_keys

        chosen = ServeOptions(
            grpc_port=None if no_grpc else grpc_port,
            api_keys=read_keys(api_key_file) if api_key_file else (),
            **options,
        )
        log = start_log(as_json=chosen.log_json, level=chosen.log_level)

        def on_ready(server: Server) -> None:
            try:
                if json_output:
                    echo_json(_document(server))
                else:
                    echo(*_banner(server))
            except OSError as error:  # whoever started the server reads no more
                log.warning("where it listens cannot be printed: %s", error.strerror or error)
                _silence_stdout()

        serve(models, options=chosen, on_ready=on_ready)
    return 0


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Exit with 0 also at a SIGTERM that comes before the server listens to signals."""

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
    """Let what is still to be printed go nowhere; the interpreter flushes its streams at the end."""
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
