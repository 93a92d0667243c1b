from __future__ import annotations

import numpy as np
import pytest
import torch
from deploykit_runtimes.answers.nms import box_iou, nms, probabilistic_iou, rotated_nms
from hypothesis import given, settings
from hypothesis import strategies as st


def make_boxes(count: int, seed: int, spread: float = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores without ties, class ids."""
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, spread, (count, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(1, 120, (count, 2))], axis=1)
    scores = generator.permutation(count) / max(count, 1)
    return boxes.astype(np.float32), scores.astype(np.float32), generator.integers(0, 5, count)


def offset(boxes: np.ndarray, class_ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(boxes) + torch.from_numpy(class_ids)[:, None].float() * 7680


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(0, 700),
    seed=st.integers(0, 1000),
    iou=st.floats(0.05, 0.95),
    aware=st.booleans(),
    limit=st.sampled_from([1, 50, 10_000]),
)
def test_equals_torchvision(count, seed, iou, aware, limit) -> None:
    from torchvision.ops import nms as reference

    boxes, scores, class_ids = make_boxes(count, seed)
    moved = offset(boxes, class_ids) if aware else torch.from_numpy(boxes)
    wanted = reference(moved, torch.from_numpy(scores), iou)[:limit].numpy()
    found = nms(boxes, scores, class_ids if aware else None, iou=iou, limit=limit)
    np.testing.assert_array_equal(found, wanted)


def test_ties_keep_their_order_and_empty_boxes_survive() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5], [5, 5, 5, 5]], np.float32)
    assert nms(boxes, np.full(4, 0.5, np.float32), None, iou=0.5, limit=10).tolist() == [0, 2, 3]


@settings(max_examples=60, deadline=None)
@given(first=st.integers(0, 30), second=st.integers(0, 30), seed=st.integers(0, 1000))
def test_box_iou_equals_torchvision(first, second, seed) -> None:
    from torchvision.ops import box_iou as reference

    a, b = make_boxes(first, seed)[0], make_boxes(second, seed + 1)[0]
    wanted = reference(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(box_iou(a, b), wanted, atol=1e-6)


def make_rotated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    boxes = np.concatenate(
        [
            generator.uniform(0, 200, (count, 2)),
            generator.uniform(4, 120, (count, 2)),
            generator.uniform(-0.8, 2.4, (count, 1)),
        ],
        axis=1,
    )
    scores = generator.permutation(count) / max(count, 1)
    return boxes.astype(np.float32), scores.astype(np.float32), generator.integers(0, 3, count)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 400), seed=st.integers(0, 1000))
def test_probabilistic_iou_equals_ultralytics(count, seed) -> None:
    from ultralytics.utils.metrics import batch_probiou

    boxes, _, _ = make_rotated(count, seed)
    wanted = batch_probiou(boxes, boxes).numpy()
    np.testing.assert_allclose(probabilistic_iou(boxes, boxes), wanted, atol=1e-3)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("iou", [0.1, 0.3, 0.5])
def test_rotated_equals_ultralytics(seed, iou) -> None:
    from ultralytics.utils.metrics import batch_probiou
    from ultralytics.utils.nms import TorchNMS

    boxes, scores, class_ids = make_rotated(600, seed)
    moved = torch.from_numpy(boxes).clone()
    moved[:, :2] += torch.from_numpy(class_ids)[:, None].float() * 7680
    wanted = TorchNMS.fast_nms(moved, torch.from_numpy(scores), iou, iou_func=batch_probiou).numpy()
    found = rotated_nms(boxes, scores, class_ids, iou=iou, limit=10_000)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(rotated_nms(boxes, scores, class_ids, iou=iou, limit=20), wanted[:20])


def test_nothing_to_suppress() -> None:
    empty = np.zeros((0, 5), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    assert rotated_nms(*empty, iou=0.5, limit=5).tolist() == []
