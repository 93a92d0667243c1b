"""Sizes in integers, against the host's in float64, where the two could part: at whole numbers and halves."""

from __future__ import annotations

import math

import pytest
import torch
from deploykit_exporters.ingraph.sizes import MAX_SIDE, CentreSquare, Fit, centred
from deploykit_runtimes.errors import ModelError
from hypothesis import given, settings
from hypothesis import strategies as st

SIDE = st.integers(1, MAX_SIDE - 1)
TARGETS = [(640, 640), (1280, 1280), (416, 416), (320, 256), (384, 640), (100, 100), (33, 47), (7, 4096)]


def fitted(size: tuple[int, int], target: tuple[int, int], *, scale_up: bool, rounds: bool) -> list[int]:
    ratio = min(target[0] / size[0], target[1] / size[1])
    if not scale_up:
        ratio = min(ratio, 1.0)
    return [max(1, round(side * ratio) if rounds else int(side * ratio)) for side in size]


@pytest.mark.parametrize("scale_up", [True, False])
@pytest.mark.parametrize("rounds", [True, False])
@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=60, deadline=None)
@given(edge=SIDE, multiple=st.integers(1, MAX_SIDE), other=SIDE, exact=st.booleans())
def test_fit_rounds_as_float64_does(target, rounds, scale_up, edge, multiple, other, exact) -> None:
    fit = Fit(target, scale_up=scale_up, rounds=rounds)
    if exact:
        # The other side's product with target / edge is a whole number of pixels or halves.
        step = edge // math.gcd(edge, (1 + rounds) * target[0])
        other = min(step * max(1, multiple % (edge // step + 1)), MAX_SIDE - 1)
    for size in ((edge, other), (other, edge)):
        assert fit(torch.tensor(size)).tolist() == fitted(size, target, scale_up=scale_up, rounds=rounds)


@pytest.mark.parametrize("fraction", [7 / 8, 240 / 272, 260 / 292, 300 / 332, 456 / 488, 1 / 49, 0.1, 1.0])
@settings(max_examples=60, deadline=None)
@given(side=SIDE, longer=st.integers(0, 9000), multiple=st.integers(1, 300), exact=st.booleans())
def test_squares_lie_where_float64_puts_them(fraction, side, longer, multiple, exact) -> None:
    if exact:
        side = min(CentreSquare(fraction, "even").ratio.denominator * multiple, MAX_SIDE - 1)
    size = (min(side + longer, MAX_SIDE - 1), side)
    length = max(1, int(fraction * side))
    wanted = {
        "up": [(n - length + 1) // 2 for n in size],
        "down": [(n - length) // 2 for n in size],
        "even": [round((n - fraction * side) / 2) for n in size],
    }
    for offset, corner in wanted.items():
        found = CentreSquare(fraction, offset)(torch.tensor(size))
        assert [values.tolist() for values in found] == [corner, [length, length]]


def test_other_fractions_are_refused() -> None:
    with pytest.raises(ModelError, match="quotient"):
        CentreSquare(math.pi / 4, "up")


ROUNDINGS = {"even": round, "down": math.floor, "up": math.ceil}


@given(length=st.tuples(SIDE, SIDE), window=st.tuples(SIDE, SIDE), half=st.sampled_from(list(ROUNDINGS)))
def test_centred_is_torchvision_s_and_transformers(length, window, half) -> None:
    wanted = [
        (inner - outer) // 2 if inner > outer else -ROUNDINGS[half]((outer - inner) / 2)
        for outer, inner in zip(length, window, strict=True)
    ]
    assert centred(torch.tensor(length), torch.tensor(window), half, pads=True).tolist() == wanted
    if all(inner <= outer for outer, inner in zip(length, window, strict=True)):
        assert centred(torch.tensor(length), torch.tensor(window), half, pads=False).tolist() == wanted
