from __future__ import annotations

import numpy as np
import pytest
import torch
from deploykit_runtimes.answers.decode import Thresholds, activate, decode
from deploykit_runtimes.answers.results import Classification, Detections, Features, OrientedDetections, Poses
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess, Task
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.pixels.geometry import Geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

SIDE = 640
GEOMETRY = Geometry(
    image_size=(SIDE, SIDE),
    input_size=(SIDE, SIDE),
    region=(0, 0, SIDE, SIDE),
    resized=(SIDE, SIDE),
    offset=(0, 0),
)


def make_spec(task: Task, output: OutputSpec, *, classes: int) -> ModelSpec:
    return ModelSpec(
        task=task,
        family="any",
        variant="any",
        origin="any",
        input=InputSpec(height=SIDE, width=SIDE),
        preprocess=Preprocess(),
        output=output,
        num_classes=classes,
    )


def one(task: Task, array: np.ndarray, *, classes: int, **options: object):
    spec = make_spec(task, OutputSpec(names=("out",), **options), classes=classes)
    return decode({"out": array}, spec, [GEOMETRY])[0]


def random_head(count: int, classes: int, seed: int = 0) -> np.ndarray:
    """[1, 4 + C, A] with a few good boxes among many weak ones; no two scores are equal."""
    generator = np.random.default_rng(seed)
    head = np.empty((1, 4 + classes, count), np.float32)
    head[0, :2] = generator.uniform(0, SIDE, (2, count))
    head[0, 2:4] = generator.uniform(10, 200, (2, count))
    scores = generator.permutation(count * classes).reshape(classes, count) / (count * classes)
    head[0, 4:] = scores**30
    return head


@pytest.mark.parametrize("classes", [1, 3, 80])
@pytest.mark.parametrize("agnostic", [False, True])
def test_yolo_equals_ultralytics(classes, agnostic) -> None:
    from ultralytics.utils.nms import non_max_suppression

    head = random_head(3000, classes)
    found = one("detect", head, classes=classes, layout="yolo", class_agnostic=agnostic)
    wanted = non_max_suppression(torch.from_numpy(head.copy()), 0.25, 0.7, agnostic=agnostic)[0].numpy()
    assert isinstance(found, Detections)
    assert 5 < len(found) == len(wanted)
    np.testing.assert_array_equal(found.scores, wanted[:, 4])
    np.testing.assert_array_equal(found.class_ids, wanted[:, 5])
    np.testing.assert_allclose(found.boxes, wanted[:, :4].clip(0, SIDE), atol=1e-4)


def test_yolo_without_a_class_count_takes_it_from_the_shape() -> None:
    head = random_head(500, 3)
    known = one("detect", head, classes=3, layout="yolo")
    assert one("detect", head, classes=0, layout="yolo").to_dict() == known.to_dict()


def test_objectness_multiplies_the_class_score() -> None:
    head = np.array(
        [
            [
                [100, 100, 50, 40, 0.9, 0.1, 0.8],
                [300, 300, 20, 20, 0.9, 0.2, 0.1],  # 0.18 falls
                [500, 500, 20, 20, 0.2, 1.0, 1.0],  # objectness falls
            ]
        ],
        np.float32,
    )
    found = one("detect", head, classes=2, layout="yolov5")
    np.testing.assert_allclose(found.boxes, [[75, 80, 125, 120]])
    np.testing.assert_allclose(found.scores, [0.72], rtol=1e-6)
    assert found.class_ids.tolist() == [1]


def test_raw_yolox_head_is_decoded() -> None:
    """The formulas of YOLOX's demo: (offset + cell) * stride and exp(size) * stride."""
    cells = [(SIDE // stride) ** 2 for stride in (8, 16, 32)]
    head = np.zeros((1, sum(cells), 6), np.float32)
    head[0, cells[0] + 3 * 40 + 7] = (0.25, 0.5, np.log(2), np.log(3), 0.9, 1.0)
    found = one("detect", head, classes=1, layout="yolov5", decoded=False)
    centre, half = np.array([(0.25 + 7) * 16, (0.5 + 3) * 16]), np.array([16, 24])
    np.testing.assert_allclose(found.boxes, [[*(centre - half), *(centre + half)]], rtol=1e-6)
    with pytest.raises(ModelError, match="8400 cells"):
        one("detect", head[:, 1:], classes=1, layout="yolov5", decoded=False)


def test_end_to_end_rows_are_only_filtered() -> None:
    rows = np.array([[[0, 0, 10, 10, 0.9, 1], [0, 0, 10, 10, 0.8, 1], [0, 0, 9, 9, 0.2, 0]]], np.float32)
    found = one("detect", rows, classes=2, layout="end2end")
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert found.names == ("class 1", "class 1")


def test_flat_end_to_end_rows_carry_their_image() -> None:
    rows = np.array([[1, 0, 0, 10, 10, 4, 0.9], [0, 5, 5, 20, 20, 2, 0.5], [1, 0, 0, 3, 3, 0, 0.1]])
    spec = make_spec("detect", OutputSpec(names=("out",), layout="end2end_flat"), classes=5)
    first, second = decode({"out": rows.astype(np.float32)}, spec, [GEOMETRY, GEOMETRY])
    assert (first.class_ids.tolist(), first.boxes.tolist()) == ([2], [[5, 5, 20, 20]])
    assert second.class_ids.tolist() == [4]


def test_pose_and_rotated_rows() -> None:
    points = np.arange(6, dtype=np.float32)
    pose = np.concatenate([np.array([10, 20, 30, 40, 0.9, 0], np.float32), points])[None, None]
    found = one("pose", pose, classes=1, layout="end2end", keypoints=(2, 3))
    assert isinstance(found, Poses)
    np.testing.assert_array_equal(found.keypoints, points.reshape(1, 2, 3))

    rotated = np.array([[[100, 200, 40, 20, 0.9, 3, np.pi / 2]]], np.float32)
    found = one("obb", rotated, classes=5, layout="end2end")
    assert isinstance(found, OrientedDetections)
    np.testing.assert_allclose(found.boxes, [[90, 180, 110, 220]], atol=1e-4)
    np.testing.assert_allclose(found.corners[0, 0], [90, 220], atol=1e-4)


def test_max_det_and_thresholds() -> None:
    head = random_head(2000, 2)
    spec = make_spec("detect", OutputSpec(names=("out",), layout="yolo"), classes=2)
    full = decode({"out": head}, spec, [GEOMETRY])[0]
    few = decode({"out": head}, spec, [GEOMETRY], Thresholds.of(spec.output, max_det=3))[0]
    np.testing.assert_array_equal(few.boxes, full.boxes[:3])
    strict = decode({"out": head}, spec, [GEOMETRY], Thresholds.of(spec.output, conf=0.8))[0]
    np.testing.assert_array_equal(strict.scores, full.scores[full.scores > 0.8])


@pytest.mark.parametrize("options", [{"conf": -0.1}, {"iou": 1.5}, {"max_det": 0}, {"top_k": 0}])
def test_thresholds_out_of_range(options) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Thresholds(**options)


@pytest.mark.parametrize(
    ("task", "array", "options"),
    [
        ("detect", np.zeros((1, 7, 10)), {"layout": "yolo"}),
        ("detect", np.zeros((1, 10, 6)), {"layout": "yolov5"}),
        ("detect", np.zeros((1, 10, 7)), {"layout": "end2end"}),
        ("detect", np.zeros((10, 6)), {"layout": "end2end_flat"}),
        ("segment", np.zeros((1, 4 + 2 + 8, 10)), {"layout": "yolo", "mask_channels": 8}),
        ("classify", np.zeros((1, 2, 2)), {"layout": "logits"}),
    ],
)
def test_shapes_that_contradict_the_contract(task, array, options) -> None:
    with pytest.raises(ModelError, match="the graph gave"):
        one(task, array.astype(np.float32), classes=2, **options)


def test_missing_output() -> None:
    spec = make_spec("classify", OutputSpec(names=("logits",), layout="logits"), classes=2)
    with pytest.raises(ModelError, match="'logits'"):
        decode({"out": np.zeros((1, 2))}, spec, [GEOMETRY])


@settings(max_examples=100, deadline=None)
@given(
    st_numpy.arrays(np.float32, (2, 7), elements=st.floats(-(2.0**90), 2.0**90, width=32)),
)
def test_activations_are_stable(logits) -> None:
    softmax = activate(logits, OutputSpec(names=("x",), layout="logits", activation="softmax"))
    np.testing.assert_allclose(softmax, torch.from_numpy(logits).softmax(1).numpy(), atol=1e-6)
    sigmoid = activate(logits, OutputSpec(names=("x",), layout="logits", activation="sigmoid"))
    np.testing.assert_allclose(sigmoid, torch.from_numpy(logits).sigmoid().numpy(), atol=1e-6)


def test_one_output_is_a_sigmoid() -> None:
    found = one("classify", np.array([[0.0]]), classes=1, layout="logits", activation="softmax")
    assert isinstance(found, Classification)
    assert found.score == 0.5


def test_probabilities_pass_and_classes_are_sorted() -> None:
    found = one("classify", np.array([[0.1, 0.6, 0.3]]), classes=3, layout="probabilities")
    assert [entry.class_id for entry in found.top] == [1, 2, 0]
    assert found.label == "class 1"
    assert found.score == pytest.approx(0.6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_numbers(value) -> None:
    with pytest.raises(ModelError, match="NaN or infinity"):
        one("classify", np.array([[0.0, value]]), classes=2, layout="logits")


@pytest.mark.parametrize(
    ("layout", "shape", "place"),
    [
        ("yolo", (1, 7, 9), (0, 6, 8)),
        ("yolo", (1, 7, 9), (0, 4, 0)),
        ("yolov5", (1, 9, 8), (0, 0, 4)),
        ("yolov5", (1, 9, 8), (0, 8, 7)),
        ("end2end", (1, 9, 6), (0, 8, 4)),
    ],
)
def test_detections_whose_scores_are_not_numbers(layout, shape, place) -> None:
    """Below every threshold, they would count as nothing found."""
    head = np.full(shape, 0.5, np.float32)
    one("detect", head, classes=3, layout=layout)
    head[place] = np.nan
    with pytest.raises(ModelError, match="scores hold NaN"):
        one("detect", head, classes=3, layout=layout)


def test_half_precision_outputs() -> None:
    found = one("classify", np.array([[1, 2]], np.float16), classes=2, layout="logits", activation="softmax")
    assert found.score == pytest.approx(0.7310586, abs=1e-4)


def test_features() -> None:
    spec = make_spec("features", OutputSpec(names=("c2", "c3"), layout="features"), classes=0)
    maps = {"c2": np.zeros((2, 4, 8, 8), np.float32), "c3": np.ones((2, 8, 4, 4), np.float32)}
    first, second = decode(maps, spec, [GEOMETRY, GEOMETRY])
    assert isinstance(first, Features)
    assert [values.shape for values in second.maps] == [(4, 8, 8), (8, 4, 4)]


@settings(max_examples=100, deadline=None)
@given(
    scores=st_numpy.arrays(np.float32, st.integers(1, 30), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    top_k=st.integers(1, 40),
)
def test_top_k_with_ties(scores, top_k) -> None:
    output = OutputSpec(names=("out",), layout="probabilities")
    spec = make_spec("classify", output, classes=len(scores))
    found = decode({"out": scores[None]}, spec, [GEOMETRY], Thresholds.of(output, top_k=top_k))[0]
    wanted = np.argsort(-scores, kind="stable")[:top_k]
    assert [entry.class_id for entry in found.top] == wanted.tolist()
