"""Sizes and batches that a model does not take are refused once, before the work."""

from __future__ import annotations

import pytest
from deploykit_runtimes.contract.shapes import check_batch, check_size
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import OptionError


def spec(*, included: bool = False, **dynamic: AxisRange) -> ModelSpec:
    return ModelSpec(
        task="classify",
        family="vit",
        variant="v",
        origin="timm",
        input=InputSpec(height=64, width=96, dynamic=dynamic),
        preprocess=Preprocess(included=included),
        output=OutputSpec(names=("logits",), layout="logits"),
    )


def test_the_models_own_sizes_pass() -> None:
    check_batch(spec(), 1)
    check_size(spec(), (64, 96))
    check_batch(spec(batch=AxisRange(min=1, max=8)), 8)
    check_size(spec(height=AxisRange(min=32, max=640, step=32)), (320, 96))


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 64), "width of 64, the model's is fixed to 96"), ((32, 96), "height of 32")]
)
def test_fixed_sizes(size: tuple[int, int], expected: str) -> None:
    with pytest.raises(OptionError, match=expected) as caught:
        check_size(spec(), size, "--imgsz")
    assert caught.value.problem.startswith("--imgsz")
    with pytest.raises(OptionError, match="fixed to 1") as caught:
        check_batch(spec(), 2)
    assert "--dynamic batch" in caught.value.hint


@pytest.mark.parametrize(("wanted", "nearest"), [(100, 96), (113, 128), (1, 64), (9999, 640)])
def test_the_nearest_allowed_size_is_named(wanted: int, nearest: int) -> None:
    model = spec(height=AxisRange(min=40, max=650, step=32))
    with pytest.raises(OptionError, match="in steps of 32") as caught:
        check_size(model, (wanted, 96))
    assert caught.value.hint == f"The nearest is {nearest}."


def test_a_graph_that_resizes_by_itself_takes_no_size() -> None:
    with pytest.raises(OptionError, match="inside its graph"):
        check_size(spec(included=True), (64, 96))
