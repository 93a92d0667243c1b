"""Differences from a golden case as shares of the scale of what it kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deploykit_runtimes.selftest.cases import Kept, KeptValues
from deploykit_runtimes.selftest.compare import largest

__all__ = ["relative", "scales"]


def relative(found: Sequence[float], kept: Kept) -> tuple[float, ...]:
    """Differences as shares of the scales of what was kept."""
    return tuple(
        gap / scale if scale else (0.0 if gap == 0 else math.inf)
        for gap, scale in zip(found, scales(kept), strict=True)
    )


def scales(kept: Kept) -> tuple[float, ...]:
    """What the difference of each part is a share of. Scores are logarithms: their differences are shares."""
    if isinstance(kept, KeptValues):
        return largest(kept.samples), largest(kept.means)
    box, extra = kept.rows[:, 3 : 3 + kept.box], kept.rows[:, 3 + kept.box :]
    return 1.0, max(largest(box), 1.0), max(largest(extra), 1.0)
