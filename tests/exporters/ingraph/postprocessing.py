"""Heads of detectors with known answers, and the comparison with what the host makes of them."""

from typing import Any

import numpy as np
from deploykit_runtimes.answers.results import Detections
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess

LETTERBOX = Preprocess(resize="letterbox", resize_to=(128, 160), resampler="opencv", pad_value=114, stride=32)
SIDES = AxisRange(min=32, max=4096, step=32)
SIZES = [(128, 160), (1, 7), (97, 33), (270, 480), (480, 270), (333, 500), (100, 90)]


def spec_of(
    layout: str, task: str = "detect", classes: int = 3, how: Preprocess = LETTERBOX, **output: Any
) -> ModelSpec:
    height, width = how.crop or (how.resize_to if len(how.resize_to) == 2 else (128, 160))
    return ModelSpec(
        task=task,
        family="yolo",
        variant="any",
        origin="any",
        num_classes=classes,
        input=InputSpec(height=height, width=width, dynamic={"height": SIDES, "width": SIDES}),
        preprocess=how,
        output=OutputSpec(names=("head",), layout=layout, **output),
    )


def crowd(
    seed: int, batch: int, anchors: int, classes: int, *, extra: int = 0, steps: int = 0, objects: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres and sides [N, A, 4], scores [N, A, C], extra [N, A, E]: clusters of boxes around ``objects``
    places, in chains that overlap their neighbours, between many unlikely ones. With ``steps``, scores are
    multiples of 1 / steps, coordinates whole and some boxes empty, so that there are ties everywhere."""
    random = np.random.default_rng(seed)
    boxes = np.concatenate(
        [random.uniform(0, 160, (batch, anchors, 2)), random.uniform(2, 60, (batch, anchors, 2))], 2
    )
    scores = random.uniform(0, 0.05, (batch, anchors, classes))
    for image in range(batch):
        owner = random.integers(0, 4 * objects, anchors)
        for number in range(objects):
            rows = np.flatnonzero(owner == number)
            start, stride = random.uniform(0, 160, 2), random.uniform(-6, 6, 2)
            boxes[image, rows, :2] = start + stride * np.arange(len(rows))[:, None]
            boxes[image, rows, 2:] = random.uniform(5, 70, 2) + random.normal(0, 1, (len(rows), 2))
            scores[image, rows, random.integers(classes)] = random.uniform(0.05, 1, len(rows))
    values = random.normal(0, 50, (batch, anchors, extra))
    if steps:
        boxes, scores = boxes.round(), np.round(scores * steps) / steps
        boxes[:, ::7, 2:] = 0
    return boxes.astype(np.float32), scores.astype(np.float32), values.astype(np.float32)


def head_of(layout: str, boxes: np.ndarray, scores: np.ndarray, extra: np.ndarray) -> np.ndarray:
    if layout == "yolo":
        return np.concatenate([boxes, scores, extra], 2).transpose(0, 2, 1).copy()
    if layout == "yolov5":
        objectness = np.sqrt(scores.max(2, keepdims=True)).astype(np.float32)
        shares = np.where(objectness > 0, scores / np.maximum(objectness, 1e-6), 0)
        return np.concatenate([boxes, objectness, shares, extra], 2).astype(np.float32)
    if extra.shape[2] != 1:  # rotated boxes keep their centre and sides
        boxes = np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], 2)
    best, ids = scores.max(2, keepdims=True), scores.argmax(2)[..., None]
    rows = np.concatenate([boxes, best, ids, extra], 2).astype(np.float32)
    return np.take_along_axis(rows, np.argsort(-best, 1, kind="stable"), 1)


def check(graph: Any, size: tuple[int, int], *heads: np.ndarray, **thresholds: float) -> int:
    """Compare with the host; the number of detections."""
    wanted = graph.expected(size, *heads, **thresholds)
    for engine, found in graph.answers(size, *heads, **thresholds).items():
        for row, result in enumerate(wanted):
            assert isinstance(result, Detections)
            check_image(found, row, result, engine)
    return sum(len(result) for result in wanted)


def check_image(found: dict[str, np.ndarray], row: int, wanted: Detections, engine: str) -> None:
    count = int(found["count"][row])
    assert count == len(wanted), engine
    np.testing.assert_array_equal(found["classes"][row, :count], wanted.class_ids, engine)
    np.testing.assert_array_equal(found["scores"][row, :count], wanted.scores, engine)
    for name, field in (("boxes", "boxes"), ("keypoints", "keypoints"), ("rotated_boxes", "rotated")):
        if name in found:
            np.testing.assert_allclose(
                found[name][row, :count], getattr(wanted, field), 1e-5, 1e-3, err_msg=engine
            )
    for name in found.keys() - {"classes", "count"}:
        assert not found[name][row, count:].any(), (engine, name)
    assert (found["classes"][row, count:] == -1).all()
    assert found["classes"].dtype == found["count"].dtype == np.int64
