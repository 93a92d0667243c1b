"""The gRPC server: its socket, limits and key, and the two services."""

from __future__ import annotations

import socket

import grpc
from deploykit_runtimes.errors import OptionError
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from deploykit.serve.grpc.auth import BearerKey
from deploykit.serve.grpc.counting import Counting
from deploykit.serve.grpc.health import Health
from deploykit.serve.grpc.inference import InferenceService
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository
from deploykit.serve.state import ServerState

__all__ = ["start_grpc"]

_ENVELOPE = 1 << 20
"""Bytes that a message may hold beside its tensors."""


async def start_grpc(repository: Repository, options: ServeOptions, state: ServerState) -> grpc.aio.Server:
    """Listen on ``options.host`` and ``options.grpc_port``.

    To stop, set ``state.stopping`` (readiness goes, streams and watches end) and await ``stop(grace)`` of the
    server, which refuses new calls and waits for those that run.

    Raises:
        OptionError: the address cannot be bound.
    """
    _check_port(options.host, options.grpc_port)
    limit = options.max_body + _ENVELOPE
    server = grpc.aio.server(
        interceptors=[Counting(state), *([BearerKey(options.accepts_key)] if options.api_keys else [])],
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would each get a part of the calls.
            ("grpc.so_reuseport", 0),
        ],
    )
    service = InferenceService(repository, state.stopping)
    server.add_generic_rpc_handlers((service.handler(),))
    add_HealthServicer_to_server(Health(service.services, state.stopping), server)
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.grpc_port}"
    try:
        state.grpc_port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise _taken(options.host, options.grpc_port) from error
    await server.start()
    return server


def _check_port(host: str, port: int | None) -> None:
    """Take the port for a moment: where that fails, grpc would write lines of its own to stderr."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As grpc does: connections that have ended may still hold the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port or 0))
    except OSError as error:
        raise _taken(host, port, error.strerror or str(error)) from error


def _taken(host: str, port: int | None, reason: str = "grpc does not say why") -> OptionError:
    return OptionError(
        f"gRPC cannot listen on {host}:{port}: {reason}.",
        hint="Choose another port with --grpc-port, or stop what uses it.",
    )
