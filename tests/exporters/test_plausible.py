"""Settings that make no model are a fault of the checkpoint, told before an export."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.plausible import check_plausible
from deploykit_runtimes.errors import CheckpointError
from torch import nn

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def built() -> BuiltModel:
    return load_checkpoint(FIXTURES / "mmpretrain_vit.pth", Hints()).built


@pytest.mark.parametrize(
    "forged",
    [
        {"mean": (math.inf, 0.0, 0.0)},
        {"mean": (math.nan,) * 3},
        {"mean": ()},
        {"mean": (0.5, 0.5)},
        {"std": (0.0, 1.0, 1.0)},
        {"std": (-1.0, 1.0, 1.0)},
        {"std": (1e-320,) * 3},
        {"scale": math.inf},
        {"scale": 0.0},
        {"resize_to": (2_000_000_000,)},
        {"resize_to": (0,)},
        {"crop": (-5, -5)},
    ],
)
def test_pre_processing_that_cannot_be(built: BuiltModel, forged: dict[str, Any]) -> None:
    spec = replace(built.spec, preprocess=replace(built.spec.preprocess, **forged))
    with pytest.raises(
        CheckpointError, match=r"m.pth describes a model that no runtime could use: "
    ) as caught:
        check_plausible(replace(built, spec=spec), "m.pth")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("epsilon", [math.inf, math.nan, -1.0])
@pytest.mark.parametrize("layer", [nn.LayerNorm(2), nn.BatchNorm2d(2), nn.GroupNorm(1, 2)])
def test_epsilons_that_cannot_be(built: BuiltModel, layer: Any, epsilon: float) -> None:
    layer.eps = epsilon
    forged = replace(built, module=nn.Sequential(layer))
    with pytest.raises(CheckpointError, match=r"m.pth gives 0 an epsilon of"):
        check_plausible(forged, "m.pth")
