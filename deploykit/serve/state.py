"""What the sides of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["ServerState"]

Answered = Callable[[str, str, str, float], None]


def _nobody(_protocol: str, _route: str, _status: str, _seconds: float) -> None:
    """Nobody counts."""


@dataclass
class ServerState:
    """A server as it runs.

    Attributes:
        stopping: Set when it begins to stop: what was accepted is answered, nothing more is.
        port, grpc_port: Where it listens; 0: not yet, or not at all.
        answered: Told of every answer of either side; see ``Metrics.answered``.
    """

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    grpc_port: int = 0
    answered: Answered = _nobody
