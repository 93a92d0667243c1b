"""Signals as requests: one that arrives twice at once was sent to a process and to its group."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Wishes"]

_SAME = 1.0
"""Seconds in which the same signal is the same wish. GNU timeout sends one to its child and then to the
group, and whoever supervises a process passes on what the process got from the terminal already."""


class Wishes:
    """Tells a new request from a duplicate.

    Args:
        clock: A monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}

    def is_new(self, number: int) -> bool:
        """Whether this signal is a new request rather than a duplicate of the last one with its number."""
        now = self._clock()
        if now - self._since.get(number, float("-inf")) < _SAME:
            return False
        self._since[number] = now
        return True
