"""The same signal twice within a second is one wish."""

from __future__ import annotations

import signal

from deploykit.process.wishes import Wishes


def test_one_wish_each_second() -> None:
    now = [50.0]
    wishes = Wishes(clock=lambda: now[0])
    assert wishes.is_new(signal.SIGTERM)
    now[0] += 0.9
    assert not wishes.is_new(signal.SIGTERM)
    assert wishes.is_new(signal.SIGINT)
    now[0] += 0.2
    assert wishes.is_new(signal.SIGTERM)
    assert not wishes.is_new(signal.SIGINT)
