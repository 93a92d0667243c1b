"""Sends the requests of one model through its engine: a bounded queue, batches of like requests, several
instances.

An asyncio front, worker threads behind. A batch takes only what is waiting when an instance becomes free,
so that batches grow with the load; ``max_delay_ms`` makes an idle instance wait for more.

A request that arrives while the model is idle uses the runner for latency, which uses all cores for one call.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns

import numpy as np
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.runner import CheckedFeeds, Runner

from deploykit.protocol.errors import NotReadyError, OverloadedError, RequestTimeoutError
from deploykit.serve.statistics import Statistics, Timing

__all__ = ["BatchPolicy", "Batcher", "InferAnswer"]

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class InferAnswer:
    """What the engine returned for one request.

    Attributes:
        outputs: Outputs by name; may be views into those of the batch.
        timing: Where the time went.
        batch: Rows that ran together with this request, its own included.
        version: Version of the model.
    """

    outputs: dict[str, np.ndarray]
    timing: Timing
    batch: int
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class BatchPolicy:
    """How requests are put together.

    Attributes:
        batched: Inputs whose first axis is the batch; empty: every request runs alone.
        max_batch: The largest number of rows in a batch.
        max_delay_ms: How long an idle instance waits for a batch to fill.
        queue: The largest number of waiting requests.
    """

    batched: frozenset[str] = frozenset()
    max_batch: int = 1
    max_delay_ms: float = 0.0
    queue: int = 256


@dataclass(eq=False)
class _Job:
    """One request on its way."""

    feeds: Feeds
    rows: int
    key: object
    future: asyncio.Future[InferAnswer]
    queued_ns: int = field(default_factory=perf_counter_ns)


class Batcher:
    """Runs requests on the instances of one model.

    Args:
        runners: One for each instance; the same runner may appear several times. Not closed here.
        solo: For a request that arrives while the model is idle; None: it takes the next instance.
        policy: How requests are put together.
        statistics: Notified of every run.
        version: Version of the model, for the answers.
    """

    def __init__(
        self,
        runners: Sequence[Runner],
        *,
        solo: Runner | None,
        policy: BatchPolicy,
        statistics: Statistics,
        version: str = "",
    ) -> None:
        self._version = version
        self._policy = policy
        self._statistics = statistics
        self._solo = solo
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._running = 0
        self._idle = len(runners)
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(runner,), name=f"deploykit-instance-{n}", daemon=True)
            for n, runner in enumerate(runners)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """The number of requests in the queue or in the engine."""
        return len(self._waiting) + self._running

    @property
    def is_full(self) -> bool:
        """Whether the next request would be refused."""
        return len(self._waiting) >= self._policy.queue

    async def run(self, feeds: Feeds, rows: int, *, timeout: float = math.inf) -> InferAnswer:
        """Queue a request that was already checked, and wait for its answer.

        A request leaves the queue if its caller is cancelled while it waits, or if its ``timeout`` in
        seconds expires.

        Raises:
            OverloadedError: the queue is full.
            NotReadyError: the batcher is closed.
            RequestTimeoutError: the answer took too long.
            DeploykitError: the engine refused the request.
        """
        loop = asyncio.get_running_loop()
        # Requests that never share a run need not be compared.
        key = self._key(feeds) if self._policy.max_batch > 1 else None
        job = _Job(feeds, rows, key, loop.create_future())
        with self._changed:
            if self._closed:
                raise NotReadyError("The model was unloaded.")
            if self.is_full:
                raise OverloadedError(f"{self._policy.queue} requests wait already, which is the limit.")
            self._waiting.append(job)
            self._changed.notify()
        # A handle of its own costs a tenth of asyncio.timeout, on the path of every request.
        expiry = None if timeout == math.inf else loop.call_later(timeout, _expire, job.future)
        try:
            answer = await job.future
        except BaseException:
            self._forget(job)
            raise
        finally:
            if expiry is not None:
                expiry.cancel()
        # The event loop looks at its clock in steps that an engine can be faster than.
        if perf_counter_ns() - job.queued_ns > 1e9 * timeout:
            raise _too_late()
        return answer

    def close(self) -> None:
        """Answer the waiting requests, then end the threads. Blocks until then."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _forget(self, job: _Job) -> None:
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)

    def _key(self, feeds: Feeds) -> object:
        """A key that is equal for requests that can share a batch."""
        batched = self._policy.batched
        return tuple(
            (name, feed.dtype.char, feed.shape[1:] if name in batched else (feed.shape, feed.tobytes()))
            for name, feed in sorted(feeds.items())
        )

    def _work(self, runner: Runner) -> None:
        while (jobs := self._take()) is not None:
            alone = self._solo is not None and self._running == len(jobs) == 1 and not self._waiting
            answers = self._run(self._solo if alone and self._solo else runner, jobs)
            # Before the clients hear of it: what they send next must not look as if it had company.
            with self._changed:
                self._running -= len(jobs)
                self._idle += 1
            _deliver(jobs, answers)

    def _take(self) -> list[_Job] | None:
        """The next batch, in queue order; None: there will be no more."""
        with self._changed:
            while True:
                if self._waiting and (patience := self._patience()) <= 0:
                    break
                if self._closed and not self._waiting:
                    return None
                self._changed.wait(patience if self._waiting else None)
            jobs = self._pick()
            self._running += len(jobs)
            self._idle -= 1
            return jobs

    def _patience(self) -> float:
        """Seconds to wait for the batch of the first request to fill."""
        first = self._waiting[0]
        if self._closed or not self._policy.max_delay_ms:
            return 0.0
        rows = sum(job.rows for job in self._waiting if job.key == first.key)
        if rows >= self._policy.max_batch:
            return 0.0
        return self._policy.max_delay_ms / 1e3 - (perf_counter_ns() - first.queued_ns) / 1e9

    def _pick(self) -> list[_Job]:
        """Requests that can join the first one: this instance's share of them, so that idle instances get
        theirs.
        """
        first = self._waiting.popleft()
        if not self._policy.batched or self._policy.max_batch <= first.rows or not self._waiting:
            return [first]
        like = [job for job in self._waiting if job.key == first.key]
        share = -(-(len(like) + 1) // max(1, self._idle))
        jobs, rows = [first], first.rows
        for job in like:
            if len(jobs) == share or rows + job.rows > self._policy.max_batch:
                break
            jobs.append(job)
            rows += job.rows
            self._waiting.remove(job)
        return jobs

    def _run(self, runner: Runner, jobs: list[_Job]) -> Sequence[InferAnswer | Exception]:
        started = perf_counter_ns()
        rows = sum(job.rows for job in jobs)
        try:
            feeds = self._joined(jobs)
            joined = perf_counter_ns()
            outputs = runner.infer(feeds)
            ran = perf_counter_ns()
            parts = _split(outputs, jobs)
        except Exception as error:  # noqa: BLE001 - a waiting client must hear of a bug too
            return [error] * len(jobs)
        done = perf_counter_ns()
        timings = [
            Timing(
                queue_ns=started - job.queued_ns,
                compute_input_ns=joined - started,
                compute_infer_ns=ran - joined,
                compute_output_ns=done - ran,
            )
            for job in jobs
        ]
        self._statistics.executed(rows, timings[0])
        return [
            InferAnswer(outputs=part, timing=timing, batch=rows, version=self._version)
            for part, timing in zip(parts, timings, strict=True)
        ]

    def _joined(self, jobs: list[_Job]) -> CheckedFeeds:
        """The feeds of a batch; those of a single request stay as they are."""
        first = jobs[0].feeds
        if len(jobs) == 1:
            return CheckedFeeds(first)
        batched = self._policy.batched
        return CheckedFeeds(
            {
                name: np.concatenate([job.feeds[name] for job in jobs]) if name in batched else feed
                for name, feed in first.items()
            }
        )


def _expire(future: asyncio.Future[InferAnswer]) -> None:
    if not future.done():
        future.set_exception(_too_late())


def _too_late() -> RequestTimeoutError:
    return RequestTimeoutError("The request's time ran out before its answer.")


def _split(outputs: dict[str, np.ndarray], jobs: list[_Job]) -> list[dict[str, np.ndarray]]:
    """The rows of each request, as views."""
    if len(jobs) == 1:
        return [outputs]
    rows = sum(job.rows for job in jobs)
    for name, output in outputs.items():
        if not output.ndim or len(output) != rows:
            raise ModelError(f"The output {name} of {rows} rows has the shape {list(output.shape)}.")
    parts = []
    start = 0
    for job in jobs:
        parts.append({name: output[start : start + job.rows] for name, output in outputs.items()})
        start += job.rows
    return parts


def _deliver(jobs: list[_Job], answers: Sequence[InferAnswer | Exception]) -> None:
    """Hand the answers to the event loops that wait for them, waking each loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
    for job, answer in zip(jobs, answers, strict=True):
        loops.setdefault(job.future.get_loop(), []).append(_Delivery(job.future, answer))
    for loop, deliveries in loops.items():
        try:
            loop.call_soon_threadsafe(_run_all, deliveries)
        except RuntimeError:  # the loop was closed: nobody waits any more
            if not loop.is_closed():
                raise


@dataclass(frozen=True)
class _Delivery:
    future: asyncio.Future[InferAnswer]
    answer: InferAnswer | Exception

    def __call__(self) -> None:
        if self.future.done():
            return
        if isinstance(self.answer, Exception):
            self.future.set_exception(self.answer)
        else:
            self.future.set_result(self.answer)


def _run_all(deliveries: list[Callable[[], None]]) -> None:
    for deliver in deliveries:
        deliver()
