from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

import numpy as np
import pytest
from deploykit_runtimes.errors import ModelError

from deploykit.protocol.errors import NotReadyError, OverloadedError
from deploykit.serve.batching import Batcher, BatchPolicy
from deploykit.serve.statistics import Statistics


class Doubling:
    """A runner that doubles its input, and can be held back."""

    def __init__(self, *, held: bool = False) -> None:
        self.open = threading.Event()
        self.started = threading.Semaphore(0)
        self.batches: list[int] = []
        self.fed: list[np.ndarray] = []
        if not held:
            self.open.set()

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.fed.append(feeds["x"])
        self.batches.append(len(feeds["x"]))
        self.started.release()
        assert self.open.wait(300)
        if np.isnan(feeds["x"]).any():
            raise ModelError("NaN came in.")
        return {"y": feeds["x"] * 2 * feeds.get("gain", np.float32(1))}


def batcher(*runners: Doubling, solo: Doubling | None = None, **policy: object) -> Batcher:
    chosen = BatchPolicy(**{"batched": frozenset({"x"}), "max_batch": 4, **policy})
    return Batcher(runners, solo=solo, policy=chosen, statistics=Statistics())


def row(value: float, rows: int = 1, width: int = 2) -> dict[str, np.ndarray]:
    return {"x": np.full((rows, width), value, np.float32)}


async def wait_for(runner: Doubling) -> None:
    assert await asyncio.to_thread(runner.started.acquire, True, 10)


def test_what_waits_runs_together_and_everyone_gets_their_own_rows() -> None:
    runner = Doubling(held=True)
    queue = batcher(runner)

    async def go() -> None:
        first = asyncio.create_task(queue.run(row(1), 1))
        await wait_for(runner)
        others = [asyncio.create_task(queue.run(row(n, rows), rows)) for n, rows in ((2, 1), (3, 2), (4, 2))]
        await asyncio.sleep(0)
        runner.open.set()
        answers = await asyncio.gather(first, *others)
        assert [answer.outputs["y"].tolist() for answer in answers] == [
            [[2, 2]], [[4, 4]], [[6, 6]] * 2, [[8, 8]] * 2,
        ]  # fmt: skip
        assert runner.batches == [1, 3, 2]  # 1 + 2 + 2 rows would be more than 4
        assert [answer.batch for answer in answers] == [1, 3, 3, 2]

    asyncio.run(go())
    queue.close()


def test_a_request_that_runs_alone_is_not_copied() -> None:
    runner = Doubling()
    queue = batcher(runner)
    feeds = row(1)
    asyncio.run(queue.run(feeds, 1))
    assert runner.fed[0] is feeds["x"]
    queue.close()


def test_other_shapes_and_other_scalars_run_apart() -> None:
    runner = Doubling(held=True)
    queue = batcher(runner, max_batch=8)

    async def go() -> None:
        tasks = [asyncio.create_task(queue.run(row(1), 1))]
        await wait_for(runner)
        gains = [np.float32(1).reshape(()), np.float32(3).reshape(())]
        gained = [row(1) | {"gain": gain} for gain in gains]
        others = [row(1), row(1, width=3), row(1), *gained]
        tasks += [asyncio.create_task(queue.run(feeds, 1)) for feeds in others]
        await asyncio.sleep(0)
        runner.open.set()
        answers = await asyncio.gather(*tasks)
        assert runner.batches == [1, 2, 1, 1, 1]
        assert [answer.outputs["y"].flat[0] for answer in answers] == [2, 2, 2, 2, 2, 6]

    asyncio.run(go())
    queue.close()


def test_idle_instances_share_what_waits() -> None:
    first, second = Doubling(held=True), Doubling(held=True)
    queue = batcher(first, second, max_batch=8)

    async def go() -> None:
        running = [asyncio.create_task(queue.run(row(0), 1)) for _ in range(2)]
        await wait_for(first)
        await wait_for(second)
        waiting = [asyncio.create_task(queue.run(row(n), 1)) for n in range(4)]
        await asyncio.sleep(0)
        first.open.set()
        second.open.set()
        await asyncio.gather(*running, *waiting)
        assert sum(first.batches + second.batches) == 6

    asyncio.run(go())
    queue.close()


def test_a_lonely_request_takes_the_solo_runner_and_a_crowd_does_not() -> None:
    runner, solo = Doubling(held=True), Doubling()
    queue = batcher(runner, solo=solo, max_batch=1)

    async def go() -> None:
        await queue.run(row(1), 1)
        assert (runner.batches, solo.batches) == ([], [1])
        solo.open.clear()
        tasks = [asyncio.create_task(queue.run(row(1), 1)) for _ in range(3)]
        solo.open.set()
        runner.open.set()
        await asyncio.gather(*tasks)
        assert len(runner.batches) + len(solo.batches) == 4
        assert runner.batches

    asyncio.run(go())
    queue.close()


def test_a_delay_lets_a_batch_fill() -> None:
    runner = Doubling()
    queue = batcher(runner, max_delay_ms=5000.0)

    async def go() -> None:
        await asyncio.gather(*(queue.run(row(n), 1) for n in range(4)))
        assert runner.batches == [4]  # full: nobody waited for the delay to pass

    asyncio.run(go())
    queue.close()


def test_a_delay_ends() -> None:
    runner = Doubling()
    queue = batcher(runner, max_delay_ms=1.0)
    answer = asyncio.run(queue.run(row(3), 1))
    assert answer.outputs["y"].tolist() == [[6, 6]]
    queue.close()


def test_a_full_queue_refuses_at_once() -> None:
    runner = Doubling(held=True)
    queue = batcher(runner, queue=2)

    async def go() -> None:
        tasks = [asyncio.create_task(queue.run(row(1), 1))]
        await wait_for(runner)
        tasks += [asyncio.create_task(queue.run(row(1), 1)) for _ in range(2)]
        await asyncio.sleep(0)
        assert queue.is_full
        with pytest.raises(OverloadedError, match="2 requests wait"):
            await queue.run(row(1), 1)
        runner.open.set()
        await asyncio.gather(*tasks)

    asyncio.run(go())
    queue.close()


def test_a_caller_that_leaves_takes_its_request_along() -> None:
    runner = Doubling(held=True)
    queue = batcher(runner, max_batch=1)

    async def go() -> None:
        first = asyncio.create_task(queue.run(row(1), 1))
        await wait_for(runner)
        gone, kept = (asyncio.create_task(queue.run(row(n), 1)) for n in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert queue.waiting == 1
        runner.open.set()
        await asyncio.gather(first, kept)
        assert [fed.flat[0] for fed in runner.fed] == [1, 3]

    asyncio.run(go())
    queue.close()


def test_an_error_reaches_every_request_of_the_batch_and_the_next_one_runs() -> None:
    runner = Doubling(held=True)
    queue = batcher(runner)

    async def go() -> None:
        first = asyncio.create_task(queue.run(row(1), 1))
        await wait_for(runner)
        bad = [asyncio.create_task(queue.run(row(value), 1)) for value in (np.nan, 1)]
        await asyncio.sleep(0)
        runner.open.set()
        await first
        for task in bad:
            with pytest.raises(ModelError, match="NaN came in"):
                await task
        assert (await queue.run(row(5), 1)).outputs["y"].tolist() == [[10, 10]]

    asyncio.run(go())
    queue.close()


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    runner = Doubling(held=True)
    queue = batcher(runner, max_batch=1)

    async def go() -> None:
        tasks = [asyncio.create_task(queue.run(row(n), 1)) for n in range(3)]
        await wait_for(runner)
        closing = asyncio.create_task(asyncio.to_thread(queue.close))
        runner.open.set()
        answers = await asyncio.gather(*tasks)
        await closing
        assert [answer.outputs["y"].flat[0] for answer in answers] == [0, 2, 4]
        with pytest.raises(NotReadyError):
            await queue.run(row(1), 1)

    asyncio.run(go())


def test_many_clients_all_get_their_own_answer() -> None:
    queue = batcher(Doubling(), Doubling(), solo=Doubling(), max_batch=8)

    async def client(n: int) -> None:
        for turn in range(20):
            answer = await queue.run(row(n * 100 + turn, rows=1 + turn % 3), 1 + turn % 3)
            assert (answer.outputs["y"] == 2 * (n * 100 + turn)).all()
            assert len(answer.outputs["y"]) == 1 + turn % 3

    async def go() -> None:
        await asyncio.gather(*(client(n) for n in range(16)))
        assert queue.busy == 0

    asyncio.run(go())
    queue.close()
