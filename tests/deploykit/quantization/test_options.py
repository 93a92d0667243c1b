"""Options of quantize that contradict each other, and shares in both forms."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_runtimes.errors import OptionError

from deploykit.quantization.options import QuantizeOptions


@pytest.mark.parametrize(("given", "share"), [("1%", 0.01), ("0.5 %", 0.005), ("0.02", 0.02), (0.03, 0.03)])
def test_a_budget_is_a_share_or_percent(given: object, share: float) -> None:
    options = QuantizeOptions(int8=True, calib="photos", budget=given)  # type: ignore[arg-type]
    assert options.budget == pytest.approx(share)
    assert options.for_int8.budget == options.budget


@pytest.mark.parametrize("given", ["much", "101%", -0.1, "nan", ""])
def test_other_budgets_are_refused(given: object) -> None:
    with pytest.raises(OptionError, match="--budget wants"):
        QuantizeOptions(int8=True, calib="photos", budget=given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "found none"),
        ({"fp16": True, "int8": True, "calib": Path("photos")}, "found two"),
        ({"int8": True}, "wants pictures"),
        ({"fp16": True, "budget": 0.02}, "--budget is for --int8"),
        ({"fp16": True, "target": "ov"}, "--target is for --int8"),
        ({"fp16": True, "slower": True}, "--keep-slower is for --int8"),
    ],
)
def test_contradictions(settings: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        QuantizeOptions(**settings)  # type: ignore[arg-type]
