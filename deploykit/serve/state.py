"""The state that the HTTP and gRPC sides of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["ServerState"]

Answered = Callable[[str, str, str, float], None]


def _nobody(_protocol: str, _route: str, _status: str, _seconds: float) -> None:
    """Count nothing."""


@dataclass
class ServerState:
    """A running server.

    Attributes:
        stopping: Set when it begins to stop: only accepted requests are still answered.
        port, grpc_port: The ports; 0: not open yet, or not used.
        answered: Called for every answer of either side; see ``Metrics.answered``.
    """

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    grpc_port: int = 0
    answered: Answered = _nobody
