"""Heads of real networks through the graph and through the host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.yolo.ultralytics import dialect as yolo_ultralytics
from deploykit_runtimes.answers.results import Classification, Detections, Segmentation

SIZES = [(160, 128), (333, 500), (97, 53)]
NETWORKS = [
    *("yolo11n", "yolo11n-pose", "yolo11n-obb", "yolo11n-seg"),
    *("yolov10n", "yolo26n", "yolo26n-pose", "yolo26n-obb", "yolo26n-seg"),
]


def network(name: str, ultralytics_file: Any) -> tuple[Any, Any]:
    """The network as a module, and its contract with dynamic axes."""
    checkpoint = read_checkpoint(ultralytics_file(name)[0])
    match = yolo_ultralytics.match(checkpoint)
    assert match is not None
    built = yolo_ultralytics.build(checkpoint, match, Hints())
    return built.module, replace(built.spec, input=replace(built.spec.input, dynamic=dict(built.axes)))


def heads_of(module: Any, shape: tuple[int, ...], seed: int) -> list[torch.Tensor]:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        heads = module(images)
    return [heads] if isinstance(heads, torch.Tensor) else list(heads)


def threshold(core: Any, head: torch.Tensor) -> float:
    """What about 60 anchors of the image score above."""
    rows = head[0].T if core.output.layout == "end2end" else head[0]
    scores = rows[4] if core.output.layout == "end2end" else rows[4 : 4 + core.num_classes].amax(0)
    return float(scores.sort(descending=True).values[60])


def tensor_size(graph: Any, size: tuple[int, int]) -> tuple[int, int]:
    from deploykit_runtimes.pixels.geometry import plan_geometry

    return plan_geometry(size, graph.core.preprocess, graph.core.input).input_size


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_host(name: str, ultralytics_file, finish) -> None:
    module, core = network(name, ultralytics_file)
    example = heads_of(module, (2, 3, 160, 160), 0)
    graph = finish(core, example, conf=threshold(core, example[0]), max_det=50)
    total = 0
    for seed, size in enumerate(SIZES):
        heads = [head.numpy() for head in heads_of(module, (1 + seed, 3, *tensor_size(graph, size)), seed)]
        # Which masks are empty is the host's to find out.
        boxes_only = replace(core, task="detect", output=replace(core.output, names=core.output.names[:1]))
        oracle = replace(graph, core=boxes_only) if core.task == "segment" else graph
        if core.task == "segment":
            plain = heads[0][:, : -core.output.mask_channels]
            if core.output.layout == "end2end":
                plain = heads[0][..., : -core.output.mask_channels]
            wanted = oracle.expected(size, plain)
        else:
            wanted = oracle.expected(size, *heads)
        for found in graph.answers(size, *heads).values():
            for row, result in enumerate(wanted):
                assert isinstance(result, Detections)
                check(found, row, result)
                total += len(result)
                if core.task == "segment":
                    check_coefficients(found, row, heads, len(result), core)
    assert total > 40


def check(found: dict[str, np.ndarray], row: int, wanted: Detections) -> None:
    count = int(found["count"][row])
    assert count == len(wanted)
    np.testing.assert_array_equal(found["classes"][row, :count], wanted.class_ids)
    np.testing.assert_array_equal(found["scores"][row, :count], wanted.scores)
    for name, field in (("boxes", "boxes"), ("keypoints", "keypoints"), ("rotated_boxes", "rotated")):
        if name in found:
            np.testing.assert_allclose(found[name][row, :count], getattr(wanted, field), 1e-5, 1e-3)


def check_coefficients(
    found: dict[str, np.ndarray], row: int, heads: list[np.ndarray], count: int, core: Any
) -> None:
    """Each row of coefficients is that of the anchor with the row's score."""
    anchors = heads[0][row] if core.output.layout == "end2end" else heads[0][row].T
    known = {values.tobytes() for values in np.ascontiguousarray(anchors[:, -core.output.mask_channels :])}
    assert all(values.tobytes() in known for values in found["mask_coefficients"][row, :count])
    np.testing.assert_array_equal(found["prototypes"][row], heads[1][row])


@pytest.mark.parametrize(
    ("name", "preprocessed"), [("yolo11n-seg", True), ("yolo26n-seg", True), ("yolo11n-seg", False)]
)
def test_masks_equal_the_host(name: str, preprocessed: bool, ultralytics_file, finish) -> None:
    """Pixel for pixel, at sizes that shrink and enlarge; empty masks are not detections."""
    module, core = network(name, ultralytics_file)
    example = heads_of(module, (2, 3, 160, 160), 0)
    conf = threshold(core, example[0])
    graph = finish(core, example, conf=conf, max_det=12, masks=True, preprocessed=preprocessed)
    assert graph.output.names[-1] == "masks"
    dropped = seen = 0
    for seed, size in enumerate([*SIZES, (640, 480), (31, 400)] if preprocessed else [(160, 128), (32, 96)]):
        shape = tensor_size(graph, size) if preprocessed else size
        heads = [head.numpy() for head in heads_of(module, (1 + seed % 3, 3, *shape), seed)]
        # Prototypes of random weights are noise without a blob larger than a pixel.
        heads[1] = np.cumsum(heads[1] - heads[1].mean((2, 3), keepdims=True), axis=3)
        values = heads[0] if core.output.layout == "end2end" else heads[0].transpose(0, 2, 1)
        values[:, ::5, -core.output.mask_channels :] = 0
        wanted = graph.expected(size, *heads)
        for engine, found in graph.answers(size, *heads).items():
            assert found["masks"].dtype == np.uint8
            assert found["masks"].shape == (len(wanted), 12, *size)
            for row, result in enumerate(wanted):
                assert isinstance(result, Segmentation)
                count = int(found["count"][row])
                assert count == len(result), engine
                np.testing.assert_array_equal(found["scores"][row, :count], result.scores)
                np.testing.assert_array_equal(found["masks"][row, :count], result.masks, engine)
                assert not found["masks"][row, count:].any()
                assert not found["boxes"][row, count:].any()
                dropped += count < 12
                seen += int(found["masks"][row].any((1, 2)).sum())
    assert seen > 40
    assert dropped


def test_classifier_equals_the_host(ultralytics_file, finish) -> None:
    module, core = network("yolo11n-cls", ultralytics_file)
    graph = finish(core, heads_of(module, (2, 3, 160, 160), 0), top_k=2)
    for seed, batch in enumerate((1, 3)):
        heads = [head.numpy() for head in heads_of(module, (batch, 3, 160, 160), seed)]
        for found in graph.answers((97, 53), *heads).values():
            for row, result in enumerate(graph.expected((97, 53), *heads)):
                assert isinstance(result, Classification)
                assert [entry.class_id for entry in result.top] == found["classes"][row].tolist()
                assert [entry.score for entry in result.top] == found["probabilities"][row].tolist()
