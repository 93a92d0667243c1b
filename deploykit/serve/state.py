"""What the sides of a server share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

__all__ = ["ServerState"]


@dataclass
class ServerState:
    """A server as it runs.

    Attributes:
        stopping: Set when it begins to stop: what was accepted is answered, nothing more is.
        port, grpc_port: Where it listens; 0: not yet, or not at all.
    """

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    grpc_port: int = 0
