"""How many pixels are in memory at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deploykit.protocol import picture_cost
from deploykit.protocol.picture_cost import PixelBudget, pixel_budget
from deploykit.serve.options import ServeOptions

SECURITY = Path(__file__).parents[3] / "SECURITY.md"


def test_whoever_wants_more_than_is_left_waits_in_order() -> None:
    async def run() -> list[str]:
        budget, order, held = PixelBudget(10), [], 0

        async def take(name: str, pixels: int) -> None:
            nonlocal held
            async with budget.hold(pixels):
                held += min(pixels, 10)
                assert held <= 10
                order.append(name)
                for _ in range(3):
                    await asyncio.sleep(0)
                held -= min(pixels, 10)

        async with asyncio.TaskGroup() as group:
            for name, pixels in (("a", 6), ("b", 4), ("large", 1000), ("c", 1), ("d", 9), ("e", 0)):
                group.create_task(take(name, pixels))
        assert budget.waiting == 0
        return order

    assert asyncio.run(run()) == ["a", "b", "large", "c", "d", "e"]


@pytest.mark.parametrize("when", ["waiting", "granted"])
def test_whoever_goes_away_leaves_its_place(when: str) -> None:
    async def run() -> None:
        budget = PixelBudget(10)

        async def take(pixels: int) -> None:
            async with budget.hold(pixels):
                pass

        async with budget.hold(10):
            first, second = (asyncio.create_task(take(10)) for _ in range(2))
            await asyncio.sleep(0)
            assert budget.waiting == 2
            if when == "waiting":
                first.cancel()
        first.cancel()  # its turn has come, and it has not run yet
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.wait_for(second, 60)
        assert first.cancelled()
        async with asyncio.timeout(60), budget.hold(10):
            assert budget.waiting == 0

    asyncio.run(run())


def test_all_models_of_a_process_share_one_budget() -> None:
    async def run() -> PixelBudget:
        assert pixel_budget(10) is pixel_budget(10)
        return pixel_budget(10)

    assert asyncio.run(run()) is not asyncio.run(run())  # an event loop that ended holds nothing


def test_the_limits_of_pictures_are_documented() -> None:
    section = SECURITY.read_text().partition("### Pictures that clients send")[2].partition("\n### ")[0]
    options = ServeOptions()
    assert f"| {options.max_pixels // 1_000_000} million pixels per picture (`--max-pixels`) |" in section
    assert f"| {picture_cost._MAX_SCANS} scans per JPEG file |" in section
    assert f"| {options.max_body_mb:g} MB per request (`--max-body`), compressed or not |" in section
