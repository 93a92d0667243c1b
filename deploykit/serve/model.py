"""One loaded version of one model, with its engine, queue and statistics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from deploykit_runtimes.answers.results import Result
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.prediction.predictor import Predictor, Prepared
from deploykit_runtimes.runner import FiniteFeeds, Placement, Runner, check_feeds
from deploykit_runtimes.runtimes import canonical_runtime
from deploykit_runtimes.selftest.run import SelfTest

from deploykit.protocol.errors import RequestTimeoutError, TooLargeError
from deploykit.protocol.picture_cost import check_picture, pixel_budget
from deploykit.serve.batching import Batcher, BatchPolicy, InferAnswer
from deploykit.serve.options import ServeOptions
from deploykit.serve.statistics import Statistics, Timing

__all__ = ["CPU", "PredictAnswer", "ServedModel"]

CPU = frozenset({"ort-cpu"})
"""Runtimes on which calls of one thread each, side by side, beat one call of all threads."""


@dataclass(frozen=True, kw_only=True)
class PredictAnswer:
    """The answers for pictures.

    Attributes:
        results: One for each picture.
        pictures: The decoded pictures that were to be kept, for ``Result.plot``.
        timing_ms: Per stage (``decode``, ``preprocess``, ``queue``, ``infer``, ``postprocess``), summed
            over the pictures, and the elapsed ``total``, during which they ran in parallel.
        version: Version of the model.
    """

    results: list[Result]
    pictures: list[Any]
    timing_ms: dict[str, float]
    version: str


class ServedModel:
    """A model that answers requests. Made by ``opening.open_model``.

    Attributes:
        name, version, path: Identify the model.
        spec, inputs, outputs: Its contract.
        max_batch: The largest number of rows in a request; 0: the first axis is not a free batch, and each
            request runs as it is.
        preferred_batch: The largest number of rows shared by several requests; 1: each request runs alone,
            as on a CPU.
        on_cpu: Its runtime uses the CPU.
        statistics: Its counters.
        tested: The golden cases on this engine; None: the file carries none, or they were switched off.
        observe: Called in the event loop with the time of every answered request.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        path: Path,
        runner: Runner,
        solo: Runner | None,
        policy: BatchPolicy,
        options: ServeOptions,
        instances: int,
        tested: SelfTest | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.path = path
        self.statistics = Statistics()
        self.tested = tested
        self.instances = instances
        self.on_cpu = canonical_runtime(options.runtime) in CPU
        self._runners = [runner, *([solo] if solo else [])]
        self._options = options
        self._predictor = Predictor(runner)
        self.spec: ModelSpec = runner.spec
        self.inputs: tuple[TensorInfo, ...] = runner.inputs
        self.outputs: tuple[TensorInfo, ...] = runner.outputs
        batch = self.spec.input.dynamic.get("batch")
        self.max_batch = batch.max if batch and policy.batched else 0
        self.preferred_batch = policy.max_batch
        self._batcher = Batcher(
            [runner] * instances, solo=solo, policy=policy, statistics=self.statistics, version=version
        )
        self._policy = policy
        self._pictures_waiting = 0  # for room in memory
        self._pool = ThreadPoolExecutor(max(2, usable_cores()), thread_name_prefix=f"deploykit-images-{name}")
        self.observe: Callable[[str, Timing], None] | None = None
        self._users = 0
        self._last_use = perf_counter()

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""
        return self._batcher.waiting

    @property
    def in_flight(self) -> int:
        """The number of requests accepted and not yet answered."""
        return self._users

    @property
    def is_full(self) -> bool:
        """Whether the next request would be refused."""
        return self._batcher.is_full or self._pictures_waiting >= self._policy.queue

    def placement(self) -> Placement:
        """What actually runs where."""
        return self._runners[0].placement()

    @cached_property
    def placed(self) -> str:
        """The placement as a line of text, which is part of every answer."""
        return str(self.placement())

    async def infer(self, feeds: Mapping[str, np.ndarray], *, timeout: float | None = None) -> InferAnswer:
        """Run one request.

        Args:
            feeds: All inputs by name.
            timeout: Seconds after which the answer is no longer needed; the server's own limit applies too.

        Raises:
            InputError: the feeds do not fit the model.
            OverloadedError, NotReadyError, RequestTimeoutError: as they say.
        """
        started = perf_counter_ns()
        try:
            with _Use(self):
                return await self._infer(feeds, self._limit(timeout))
        except (DeploykitError, asyncio.CancelledError):
            self.statistics.failed(perf_counter_ns() - started)
            raise

    async def predict(
        self,
        images: Sequence[bytes],
        *,
        timeout: float | None = None,
        keep: int | None = None,
        **options: Any,
    ) -> PredictAnswer:
        """Answer for pictures, like ``Predictor.predict``.

        Args:
            images: The bytes of image files.
            timeout: See ``infer``.
            keep: How many decoded pictures are returned with the answer; None: all.
            options: ``conf``, ``iou``, ``top_k``, ``max_det``, ``imgsz``.

        Raises:
            TooLargeError: there are too many pictures, or one has too many pixels.
            InputError, OptionError: a picture or option does not fit.
            OverloadedError, NotReadyError, RequestTimeoutError: as they say.
        """
        if len(images) > self._options.max_images:
            raise TooLargeError(
                f"A request holds at most {self._options.max_images} pictures, found {len(images)}."
            )
        started = perf_counter_ns()
        try:
            with _Use(self):
                async with asyncio.timeout(self._limit(timeout)), asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._predict(image, options, keep=keep is None or n < keep))
                        for n, image in enumerate(images)
                    ]
        except* TimeoutError as errors:
            self.statistics.failed(perf_counter_ns() - started)
            raise RequestTimeoutError("The request's time ran out before its answer.") from errors
        except* DeploykitError as errors:
            self.statistics.failed(perf_counter_ns() - started)
            raise _first(errors) from None
        answers = [task.result() for task in tasks]
        stages = {
            stage: sum(answer[2][stage] for answer in answers)
            for stage in ("decode", "preprocess", "queue", "infer", "postprocess")
        }
        return PredictAnswer(
            results=[answer[0] for answer in answers],
            pictures=[answer[1] for answer in answers if answer[1] is not None],
            timing_ms={**stages, "total": (perf_counter_ns() - started) / 1e6},
            version=self.version,
        )

    async def close(self, *, quiet_s: float = 0.0) -> None:
        """Answer accepted requests, then free the engine.

        Args:
            quiet_s: Wait until the model has been unused for this many seconds, since somebody may still
                hold it.
        """
        while self._users or perf_counter() - self._last_use < quiet_s:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self._free)

    def _free(self) -> None:
        self._batcher.close()
        self._pool.shutdown()
        for runner in self._runners:
            runner.close()

    def _limit(self, timeout: float | None) -> float:
        return min(self._options.timeout_s, timeout or self._options.timeout_s)

    async def _infer(self, feeds: Mapping[str, np.ndarray], timeout: float) -> InferAnswer:
        # A client's own NaN spoils its own answer alone, and load generators send random bits.
        check_feeds(self.spec, self.inputs, FiniteFeeds(feeds))
        batched = self._policy.batched
        rows = next((len(feeds[name]) for name in batched), 1)
        answer = await self._batcher.run(feeds, rows, timeout=timeout)
        self.statistics.succeeded(rows, answer.timing)
        if self.observe is not None:
            self.observe(self.name, answer.timing)
        return answer

    async def _predict(
        self, image: bytes, options: Mapping[str, Any], *, keep: bool
    ) -> tuple[Result, Any, dict[str, float]]:
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._pool, check_picture, image, self._options.max_pixels)
        # Held until the answer: a graph that takes pictures as they are has them as its input meanwhile.
        async with self._room(pixels):
            return await self._predict_decoded(image, options, keep=keep)

    @asynccontextmanager
    async def _room(self, pixels: int) -> AsyncIterator[None]:
        """Reserve memory for a picture from the budget that all models share."""
        self._pictures_waiting += 1
        waits = True
        try:
            async with pixel_budget(self._options.max_pixels).hold(pixels):
                self._pictures_waiting -= 1
                waits = False
                yield
        finally:
            self._pictures_waiting -= waits

    async def _predict_decoded(
        self, image: bytes, options: Mapping[str, Any], *, keep: bool
    ) -> tuple[Result, Any, dict[str, float]]:
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._pool, self._prepare, image, options)
        answer = await self._infer(prepared.feeds, self._options.timeout_s)
        started = perf_counter_ns()
        result = await loop.run_in_executor(self._pool, self._predictor.read, prepared, answer.outputs)
        timing = answer.timing
        return (
            result,
            prepared.image if keep else None,
            {
                "decode": prepared.decode_ms,
                "preprocess": prepared.preprocess_ms,
                "queue": timing.queue_ns / 1e6,
                "infer": (timing.total_ns - timing.queue_ns) / 1e6,
                "postprocess": (perf_counter_ns() - started) / 1e6,
            },
        )

    def _prepare(self, image: bytes, options: Mapping[str, Any]) -> Prepared:
        return self._predictor.prepare(image, **options)


class _Use:
    """Counts the users of a model, so that it is not freed while in use."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model._users += 1

    def __exit__(self, *exc: object) -> None:
        self._model._users -= 1
        self._model._last_use = perf_counter()


def _first(errors: BaseExceptionGroup[DeploykitError]) -> DeploykitError:
    """The first error of an exception group, which may be nested."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, DeploykitError)
    return error
