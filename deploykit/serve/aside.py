"""Blocking work outside the event loop, which may take minutes or never end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Aside"]

T = TypeVar("T")


class Aside:
    """Runs functions that do not raise in threads of their own.

    asyncio's own pool has few threads, which requests also need, and the interpreter waits for them when it
    exits: a file system that hangs, or a model whose first run never ends, would hold up both.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Future[None]] = set()

    async def run(self, work: Callable[[], T], *, unwanted: Callable[[T], None] = lambda _: None) -> T:
        """Run a function, and return its result.

        Args:
            work: The function.
            unwanted: Called with the result if the caller was cancelled meanwhile.

        Raises:
            RuntimeError: no more threads can be started, or the function raised after all.
        """
        call = _Call(work)
        call.start()
        self._running.add(call.ended)
        call.ended.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(call.ended)
        except asyncio.CancelledError:
            call.ended.add_done_callback(lambda _: call.hand_over(unwanted))
            raise
        return call.take()

    async def settle(self, patience: float) -> None:
        """Wait for what is still running, but no longer than that many seconds."""
        if self._running:
            await asyncio.wait(self._running, timeout=patience)


class _Call(Generic[T]):
    """A function in a thread.

    Its result is removed from this object: it may hold an error, whose traceback holds the thread's frames
    and so this object, and such a cycle would survive until the next garbage collection.

    Attributes:
        ended: Done when the thread has ended.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._returned: list[T] = []
        self._raised = ""
        self._thread = threading.Thread(target=self._go, name="deploykit-aside", daemon=True)
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        self._thread.start()

    def take(self) -> T:
        if not self._returned:
            raise RuntimeError(f"Work beside the event loop failed:\n{self._raised}")
        return self._returned.pop()

    def hand_over(self, taker: Callable[[T], None]) -> None:
        if self._returned:
            taker(self._returned.pop())

    def _go(self) -> None:
        try:
            self._returned.append(self._work())
        except BaseException:  # noqa: BLE001 - somebody waits, and would forever
            self._raised = traceback.format_exc()
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._thread.join()  # it has nothing left to do
        self.ended.set_result(None)
