"""None"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.ingraph.postprocess import PostprocessOptions, postprocess_output
from deploykit_runtimes.answers.results import OrientedDetections
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import OptionError
from hypothesis import given, settings
from hypothesis import strategies as st
from postprocessing import SIZES, check, crowd, head_of, spec_of

HEADS = {
    "yolo, 3 classes": (spec_of("yolo"), 0),
    "yolo, 1 class": (spec_of("yolo", classes=1), 0),
    "yolo, 80 classes": (spec_of("yolo", classes=80), 0),
    "yolov5": (spec_of("yolov5", classes=5), 0),
    "pose": (spec_of("yolo", "pose", 1, keypoints=(5, 3)), 15),
    "pose in two columns": (spec_of("yolov5", "pose", 2, keypoints=(4, 2)), 8),
    "obb": (spec_of("yolo", "obb", 4), 1),
}
SELECTED = {
    "end2end": (spec_of("end2end", classes=80), 0),
    "end2end pose": (spec_of("end2end", "pose", 1, keypoints=(5, 3)), 15),
    "end2end obb": (spec_of("end2end", "obb", 4), 1),
    "suppressed already": (spec_of("yolo", classes=7, nms=True), 0),
}


@pytest.fixture(scope="module", params=HEADS)
def suppressing(request, finish) -> tuple[Any, int]:
    core, extra = HEADS[request.param]
    example = head_of(core.output.layout, *crowd(0, 2, 30, core.num_classes, extra=extra))
    return finish(core, [torch.from_numpy(example)], max_det=40, runtime_thresholds=True), extra


@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    anchors=st.sampled_from([1, 2, 40, 127, 128, 129, 600]),
    steps=st.sampled_from([0, 4, 32]),
    size=st.sampled_from(SIZES),
    conf=st.sampled_from([0.0, 0.001, 0.25, 0.5, 1.0]),
    iou=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
)
def test_equals_the_host(
    suppressing: tuple[Any, int],
    seed: int,
    batch: int,
    anchors: int,
    steps: int,
    size: tuple[int, int],
    conf: float,
    iou: float,
) -> None:
    graph, extra = suppressing
    core = graph.core
    head = head_of(
        core.output.layout, *crowd(seed, batch, anchors, core.num_classes, extra=extra, steps=steps)
    )
    check(graph, size, head, conf=conf, iou=iou)


@pytest.mark.parametrize("name", SELECTED)
def test_heads_that_select_equal_the_host(name: str, finish) -> None:
    core, extra = SELECTED[name]

    def head(seed: int, batch: int, anchors: int) -> np.ndarray:
        values = crowd(seed, batch, anchors, core.num_classes, extra=extra, steps=16 * (seed % 2))
        return head_of(core.output.layout, *values)

    graph = finish(core, [torch.from_numpy(head(0, 2, 30))], conf=0.1, max_det=50)
    counts = [
        check(graph, size, head(seed, 1 + seed % 3, anchors))
        for seed, (size, anchors) in enumerate(zip(SIZES, [300, 1, 20, 49, 50, 51, 300], strict=True))
    ]
    assert sum(counts) > 150


def test_a_crowd_larger_than_any_pool(finish) -> None:
    """More candidates than TensorRT's largest TopK, nearly all of which survive or fall to the last ones."""
    core = spec_of("yolo", classes=2)
    graph = finish(core, [torch.rand(2, 6, 30)], max_det=300, conf=0.001)
    for seed, spread in ((0, 160), (1, 4000)):
        boxes, scores, extra = crowd(seed, 1, 6000, 2, objects=150)
        boxes[..., :2] *= spread / 160
        assert check(graph, (128, 160), head_of("yolo", boxes, scores, extra)) == 300


def test_a_long_chain_of_overlaps(finish) -> None:
    """Each box falls to its better neighbour unless that has fallen: every second one stays."""
    core = spec_of("yolo", classes=1)
    graph = finish(core, [torch.rand(2, 5, 30)], iou=0.3)
    boxes = np.tile(np.float32([0, 50, 20, 20]), (1, 400, 1))
    boxes[0, :, 0] = 10 * np.arange(400)
    scores = np.linspace(0.9, 0.3, 400, dtype=np.float32).reshape(1, 400, 1)
    assert check(graph, (4096, 4096), head_of("yolo", boxes, scores, boxes[..., :0])) == 200


def test_images_of_a_batch_do_not_affect_each_other(finish) -> None:
    core = spec_of("yolo", classes=4)
    graph = finish(core, [torch.rand(2, 8, 30)], max_det=20)
    head = np.concatenate(
        [
            head_of("yolo", *crowd(seed, 1, 700, 4, objects=objects))
            for seed, objects in ((0, 1), (1, 100), (2, 9))
        ]
    )
    head[2, 4:] = 0
    together = graph.answers((97, 33), head)
    for row in range(3):
        alone = graph.answers((97, 33), head[row : row + 1])
        for engine, found in alone.items():
            for name, values in found.items():
                np.testing.assert_array_equal(values[0], together[engine][name][row])
    assert together["onnxruntime"]["count"].tolist()[1:] == [20, 0]


def test_class_agnostic(finish) -> None:
    core = spec_of("yolo", classes=6)
    boxes, scores, extra = crowd(3, 2, 300, 6)
    head = head_of("yolo", boxes, np.random.default_rng(3).permuted(scores, axis=2), extra)
    aware, agnostic = (
        check(finish(core, [torch.from_numpy(head)], iou=0.4, class_agnostic=flag), (128, 160), head)
        for flag in (False, True)
    )
    assert agnostic < aware


@pytest.mark.parametrize(
    ("how", "task"),
    [
        (Preprocess(resize="stretch", resize_to=(128, 160)), "detect"),
        (
            Preprocess(resize="letterbox", resize_to=(128, 160), resampler="opencv", anchor="top_left"),
            "detect",
        ),
        (Preprocess(resize="short", resize_to=(150,), crop=(128, 160)), "pose"),
        (Preprocess(pre_crop=0.875, resize="stretch", resize_to=(128, 160)), "obb"),
    ],
)
def test_the_way_back_to_the_image(how: Preprocess, task: str, finish) -> None:
    keypoints = (5, 3) if task == "pose" else (0, 0)
    extra = {"pose": 15, "obb": 1}.get(task, 0)
    sides = {"height": AxisRange(min=1, max=4096), "width": AxisRange(min=1, max=4096)}
    core = spec_of("yolo", task, 3, how, keypoints=keypoints)
    core = replace(core, input=InputSpec(height=128, width=160, dynamic=sides))
    head = head_of("yolo", *crowd(1, 2, 300, 3, extra=extra))
    graph = finish(core, [torch.from_numpy(head)])
    assert sum(check(graph, size, head) for size in SIZES) > 50


@pytest.mark.parametrize("name", ["yolo, 3 classes", "pose", "obb"])
def test_pixels_of_the_tensor_are_not_clipped(name: str, finish) -> None:
    core, extra = HEADS[name]
    head = head_of("yolo", *crowd(5, 2, 300, core.num_classes, extra=extra))
    graph = finish(core, [torch.from_numpy(head)], preprocessed=False)
    for engine, found in graph.answers((128, 160), head).items():
        assert found["boxes"].min() < 0, engine
        assert found["boxes"].max() > 160, engine
    check_inside(graph, (128, 160), head)


def check_inside(graph: Any, size: tuple[int, int], head: np.ndarray) -> None:
    """Compare with the host where it does not clip: right of and below the origin, and oriented boxes."""
    for found in graph.answers(size, head).values():
        for row, result in enumerate(graph.expected(size, head)):
            count = len(result)
            assert found["count"][row] == count > 10
            np.testing.assert_array_equal(found["scores"][row, :count], result.scores)
            boxes = found["boxes"][row, :count]
            if not isinstance(result, OrientedDetections):
                boxes = np.maximum(boxes, 0)
            np.testing.assert_allclose(boxes, result.boxes, 1e-5, 1e-3)


@pytest.mark.parametrize(("preprocessed", "size"), [(True, (270, 337)), (False, (64, 96))])
def test_yolox_decodes_its_grid(preprocessed: bool, size: tuple[int, int], finish) -> None:
    core = spec_of("yolov5", classes=4, decoded=False)
    height, width = (128, 160) if preprocessed else size
    anchors = sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    random = np.random.default_rng(0)
    head = random.normal(0, 0.5, (2, anchors, 9)).astype(np.float32)
    head[..., 4:] = random.uniform(0, 1, (2, anchors, 5)) ** 2
    core = replace(core, input=replace(core.input, height=height, width=width))
    graph = finish(core, [torch.from_numpy(head)], preprocessed=preprocessed, conf=0.2)
    if preprocessed:
        assert check(graph, size, head) > 50
    else:
        check_inside(graph, size, head)


def test_nan_is_no_detection(finish) -> None:
    """Nor does it touch the others."""
    core = spec_of("yolo", classes=3)
    head = head_of("yolo", *crowd(8, 2, 300, 3))
    graph = finish(core, [torch.from_numpy(head)])
    spoilt = head.copy()
    rows = np.flatnonzero(head[0, 4:].max(0) > 0.25)[::3]
    spoilt[0, 4:, rows] = np.nan
    cleared = head.copy()
    cleared[0, 4:, rows] = 0
    for engine, found in graph.answers((128, 160), spoilt).items():
        expected = graph.answers((128, 160), cleared)[engine]
        for name, values in found.items():
            np.testing.assert_array_equal(values, expected[name], engine)


@pytest.mark.parametrize("options", [{"opset": 23}, {"simplified": False}, {"fixed": True}])
def test_exports_of_every_kind(options: dict[str, Any], finish) -> None:
    core = spec_of("yolo", classes=3)
    head = head_of("yolo", *crowd(2, 2, 200, 3))
    graph = finish(core, [torch.from_numpy(head)], **options)
    assert check(graph, (131, 165), head) > 10
    loops = [attribute.g for node in graph.model.graph.node for attribute in node.attribute]
    used = {node.op_type for body in (graph.model.graph, *loops) for node in body.node}
    assert not used & {"NonMaxSuppression", "NonZero", "If", "SequenceAt", "Unique", "Compress"}
    assert {entry.domain for entry in graph.model.opset_import} <= {"", "ai.onnx"}


def test_contract_of_the_finished_graph() -> None:
    core = spec_of("yolo", "pose", 2, keypoints=(17, 3), conf=0.3, iou=0.6, class_agnostic=True)
    output = postprocess_output(core, PostprocessOptions())
    assert output.names == ("boxes", "scores", "classes", "count", "keypoints")
    assert (output.layout, output.nms, output.keypoints) == ("detections", True, (17, 3))
    assert (output.conf, output.iou, output.max_det, output.class_agnostic) == (0.3, 0.6, 300, True)
    output = postprocess_output(
        core, PostprocessOptions(conf=0.0, iou=1.0, max_det=7, runtime_thresholds=True)
    )
    assert (output.conf, output.iou, output.max_det, output.runtime_thresholds) == (0.0, 1.0, 7, True)

    output = postprocess_output(spec_of("logits", "classify", 3), PostprocessOptions())
    assert output == OutputSpec(names=("probabilities", "classes"), layout="top_k", top_k=3)
    core = spec_of("yolo", "segment", 3, mask_channels=32)
    names = postprocess_output(core, PostprocessOptions()).names
    assert names[4:] == ("mask_coefficients", "prototypes")
    assert postprocess_output(core, PostprocessOptions(masks=True)).names[4:] == ("masks",)


@pytest.mark.parametrize(
    ("core", "options", "message"),
    [
        (spec_of("features", "features"), {}, "features"),
        (spec_of("end2end_flat"), {}, "end2end_flat"),
        (spec_of("yolo"), {"masks": True}, "segmentation"),
        (
            spec_of("yolo", "segment", 3, Preprocess(resize="short", resize_to=(8, 8), crop=(8, 8))),
            {"masks": True},
            "crops",
        ),
        (spec_of("yolo"), {"conf": 1.5}, "--conf"),
        (spec_of("yolo"), {"conf": float("nan")}, "--conf"),
        (spec_of("yolo"), {"iou": -0.1, "max_det": 0}, "--iou"),
        (spec_of("yolo"), {"max_det": 0}, "--max-det"),
        (spec_of("yolo"), {"max_det": 5000}, "3840"),
        (spec_of("logits", "classify"), {"top_k": 0}, "--top-k"),
        (spec_of("logits", "classify"), {"top_k": 3841}, "--top-k"),
        (spec_of("logits", "classify"), {"conf": 0.5, "max_det": 3}, "--conf and --max-det"),
        (spec_of("logits", "classify"), {"runtime_thresholds": True}, "--runtime-thresholds"),
        (spec_of("end2end"), {"runtime_thresholds": True}, "--runtime-thresholds"),
        (spec_of("end2end"), {"iou": 0.5}, "--iou"),
        (spec_of("yolo", nms=True), {"class_agnostic": True}, "--class-agnostic"),
    ],
)
def test_options_that_make_no_sense(core: ModelSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        postprocess_output(core, PostprocessOptions(**options))
