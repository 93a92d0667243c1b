"""The proof must fail when it should."""

from __future__ import annotations

import numpy as np
import pytest
from deploykit_exporters.families.base import OutputGroup
from deploykit_exporters.proof.tensors import Case, compare, difference, proof_cases, prove
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.runner import Placement
from hypothesis import given
from hypothesis import strategies as st

LOGITS = OutputGroup(output="logits", kind="scores", axis=1)
DETECTIONS = OutputGroup(output="detections", kind="detections")


def spec(size: tuple[int, int] = (64, 96), **dynamic: AxisRange) -> ModelSpec:
    return ModelSpec(
        task="classify",
        family="vit",
        variant="v",
        origin="timm",
        input=InputSpec(height=size[0], width=size[1], dynamic=dynamic),
        preprocess=Preprocess(resize="stretch", resize_to=size, mean=(0.5,) * 3, std=(0.5,) * 3),
        output=OutputSpec(names=("logits",), layout="logits"),
    )


class Function:
    """A runner over a plain function of the images."""

    def __init__(self, model_spec: ModelSpec, function) -> None:
        self.spec, self._function = model_spec, function

    def infer(self, feeds):
        return {"logits": self._function(feeds["images"])}

    def placement(self) -> Placement:
        return Placement(engine="function", version="1", device="cpu")


def means(images: np.ndarray) -> np.ndarray:
    return images.mean((2, 3)) * np.array([1.0, 2.0, 3.0], np.float32)


def run(wrong, model_spec: ModelSpec | None = None):
    model_spec = model_spec or spec(batch=AxisRange(min=1, max=8))
    reference, candidate = Function(model_spec, means), Function(model_spec, wrong)
    return prove(reference, candidate, [LOGITS], proof_cases(model_spec))


def test_equal_runners_pass_with_a_full_record() -> None:
    record = run(means)
    assert (record.max_abs, record.max_rel, record.top1) == (0.0, 0.0, 1.0)
    assert record.shapes == ("1x3x64x96", "2x3x64x96", "3x3x64x96")
    assert record.inputs == ("photo", "noise")
    assert "function" in record.engine


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: means(x) * (1 + 3e-4),
        lambda x: means(x) + 1e-3,
        lambda x: means(x)[:, ::-1],
        lambda x: means(x) * np.nan,
        lambda x: means(x)[:1],
        lambda x: np.concatenate([means(x)[:1], means(x)[:1].repeat(len(x) - 1, 0)]),
        lambda x: np.zeros_like(means(x)),
    ],
    ids=["scaled", "shifted", "permuted", "nan", "short", "batch-mixed", "zeros"],
)
def test_a_wrong_runner_fails(wrong) -> None:
    with pytest.raises(ParityError):
        run(wrong)


def test_a_size_frozen_at_the_trace_fails() -> None:
    dynamic = spec(height=AxisRange(min=8, max=512), width=AxisRange(min=8, max=512))
    frozen = 64 * 96

    with pytest.raises(ParityError, match=r"photo|noise"):
        run(lambda x: x.sum((2, 3)) / frozen * np.array([1.0, 2.0, 3.0], np.float32), dynamic)


@given(
    low=st.integers(1, 64),
    step=st.sampled_from([1, 2, 14, 16, 32]),
    span=st.integers(0, 20),
)
def test_proof_sizes_stay_inside_the_declared_ranges(low: int, step: int, span: int) -> None:
    first = -(-low // step) * step
    allowed = AxisRange(min=low, max=first + span * step, step=step)
    model = spec((first, allowed.max), batch=AxisRange(min=1, max=8), height=allowed, width=allowed)
    for case in proof_cases(model)[1:]:
        assert case.images.shape[2] in allowed
        assert case.images.shape[3] in allowed
        assert case.images.dtype == np.float32


def test_dynamic_sizes_include_an_odd_one_and_several_batches() -> None:
    axis = AxisRange(min=1, max=4096)
    shapes = [
        case.images.shape
        for case in proof_cases(spec(batch=AxisRange(min=1, max=8), height=axis, width=axis))
    ]
    assert {shape[0] for shape in shapes} >= {1, 2, 3}
    assert any(shape[2] % 2 and shape[3] % 2 for shape in shapes)
    assert len({shape[2:] for shape in shapes}) >= 3


def test_groups_have_their_own_scale() -> None:
    boxes = np.full((1, 6, 10), 500.0, np.float32)
    boxes[:, 4:] = 0.5
    off = boxes.copy()
    off[:, 4:] += 1e-3
    whole = compare(boxes, off, OutputGroup(output="predictions"))
    scores = compare(boxes, off, OutputGroup(output="predictions", axis=1, start=4))
    assert whole.max_rel < 1e-4 < scores.max_rel


def detections(rows: int = 20) -> np.ndarray:
    generator = np.random.default_rng(0)
    values = np.zeros((1, rows, 6), np.float32)
    values[..., :2] = generator.uniform(0, 300, (1, rows, 2))
    values[..., 2:4] = values[..., :2] + generator.uniform(5, 100, (1, rows, 2))
    values[..., 4] = np.sort(generator.uniform(0.1, 0.9, rows))[::-1]
    values[..., 5] = generator.integers(0, 3, rows)
    return values


def test_detections_may_swap_rows_but_not_content() -> None:
    want = detections()
    swapped = want.copy()
    swapped[:, [3, 4]] = swapped[:, [4, 3]]
    assert compare(want, swapped, DETECTIONS).max_rel == 0.0
    for column, change in ((0, 5.0), (4, 0.01), (5, 1.0)):
        wrong = want.copy()
        wrong[0, 2, column] += change
        assert compare(want, wrong, DETECTIONS).max_rel > 1e-4
    missing = want.copy()
    missing[0, 2] = missing[0, 1]
    assert compare(want, missing, DETECTIONS).max_rel > 1e-4


def test_equal_infinities_agree_and_others_do_not() -> None:
    want = np.array([[1.0, np.inf, 2.0]], np.float32)
    assert compare(want, want.copy(), LOGITS).max_rel == 0.0
    assert compare(want, np.array([[1.0, 5.0, 2.0]], np.float32), LOGITS).max_rel == np.inf


@pytest.mark.parametrize(("one", "other", "off"), [(2.0, 2.0, 0.0), (2.0, 3.0, 1.0), (np.nan, np.nan, 0.0)])
def test_numbers_without_an_axis_are_compared(one: float, other: float, off: float) -> None:
    """As a graph has them in its constants, which bisect compares."""
    found = difference(np.array(one, np.float32), np.array(other, np.float32))
    assert found.max_abs == off


def test_a_case_is_named_in_the_failure() -> None:
    model = spec()
    case = Case(name="mine.jpg", images=np.ones((1, 3, 64, 96), np.float32))
    with pytest.raises(ParityError, match=r"mine\.jpg 1x3x64x96"):
        prove(Function(model, means), Function(model, lambda x: means(x) * 2), [LOGITS], [case])


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_rows_of_an_end_to_end_head_are_counted_however_small_their_scores(scale: float) -> None:
    """Scores of 1e-6 all lie within a fixed margin of the last one: nothing but scores was compared."""
    want = detections()
    want[..., 4] *= np.float32(scale)
    assert compare(want, want, DETECTIONS).rows > 0
    moved = want.copy()
    moved[..., :4] += 5
    assert compare(want, moved, DETECTIONS).max_rel > 1e-3


def test_an_end_to_end_head_of_equal_scores_is_not_proven() -> None:
    flat = detections()
    flat[..., 4] = 0
    model_spec = spec()
    runner = Function(model_spec, lambda _: flat)
    runner.infer = lambda _: {"detections": flat}  # type: ignore[method-assign]
    with pytest.raises(ParityError, match="no box could be compared"):
        prove(runner, runner, [DETECTIONS], proof_cases(model_spec))
