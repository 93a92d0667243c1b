"""YOLOv5's and YOLOX's heads without deploykit's metadata: the answers of the file that has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.verify import verify
from deploykit_runtimes import load
from deploykit_runtimes.answers.results import Detections, Segmentation
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError

Strip = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def stripped(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Strip:
    """An export of a fixture, and a copy of it that has the keys of YOLOv5's exporter, or none."""
    folder = tmp_path_factory.mktemp("stripped")
    made: dict[str, Path] = {}

    def strip(name: str, *, told: bool) -> tuple[Path, Path]:
        if name not in made:
            made[name] = export(fixtures / name, ExportOptions(output=folder / f"{name}.onnx")).path
        model = onnx.load(made[name])
        with load(made[name]) as own:
            names = dict(enumerate(own.spec.class_name(n) for n in range(own.spec.num_classes)))
        del model.metadata_props[:]
        if told:
            onnx.helper.set_model_props(model, {"stride": "32", "names": str(names)})
        copy = folder / f"{name}.{told}.onnx"
        onnx.save(model, copy)
        return made[name], copy

    return strip


def assert_equal(ours: Detections, wanted: Detections) -> None:
    assert len(ours) > 3
    np.testing.assert_array_equal(ours.boxes, wanted.boxes)
    np.testing.assert_array_equal(ours.scores, wanted.scores)
    np.testing.assert_array_equal(ours.class_ids, wanted.class_ids)
    if isinstance(wanted, Segmentation):
        assert isinstance(ours, Segmentation)
        np.testing.assert_array_equal(ours.masks, wanted.masks)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("yolov5_detect.pt", "yolov5"),
        ("yolov5_segment.pt", "yolov5-segment"),
        ("yolox_plain.pth", "yolox-decoded"),
    ],
)
def test_answers(name: str, outputs: str, stripped: Strip, photos) -> None:
    own, untold = stripped(name, told=False)
    with load(own, threads=1) as model, load(untold, threads=1, outputs=outputs) as declared:
        for photo in ("cat", "flower_portrait", "cat_wide"):
            wanted = model.predict(photos[photo], conf=0.001)
            assert_equal(declared.predict(photos[photo], conf=0.001), wanted)


@pytest.mark.parametrize("name", ["yolov5_detect.pt", "yolov5_segment.pt"])
def test_the_keys_of_yolov5_tell_it(name: str, stripped: Strip, photos) -> None:
    own, told = stripped(name, told=True)
    with load(own, threads=1) as model, load(told, threads=1) as other:
        assert other.spec.classes == tuple(model.spec.class_name(n) for n in range(model.spec.num_classes))
        wanted = model.predict(photos["cat"], conf=0.001)
        assert_equal(other.predict(photos["cat"], conf=0.001), wanted)
        assert (other.spec.output.iou, other.spec.output.max_det) == (0.45, 1000)


def test_the_classifier_of_yolov5(stripped: Strip, photos) -> None:
    own, told = stripped("yolov5_classify.pt", told=True)
    with load(own, threads=1) as model, load(told, threads=1) as other:
        assert other.predict(photos["cat"]).to_dict() == model.predict(photos["cat"]).to_dict()


def test_yolox_is_not_guessed(stripped: Strip) -> None:
    with pytest.raises(ModelError, match=r"yolov5 .* or yolox-decoded"):
        load(stripped("yolox_plain.pth", told=False)[1])


def yolov7_end2end(path: Path, boxes: np.ndarray, scores: np.ndarray) -> Path:
    """The graph that YOLOv7's export.py ends with: NonMaxSuppression, and one row for each box it keeps, of
    the whole batch. Boxes [A, 4] move by the mean of their image, so that each image has its own."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "boxes": boxes,
        "scores": scores,  # [1, C, A]
        "most": np.array([100], np.int64),
        "iou": np.array([0.45], np.float32),
        "conf": np.array([0.25], np.float32),
        "side": np.array(64, np.float32),
        "zero": np.array(0, np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "flat": np.array([-1, 1, 1], np.int64),
        "image": np.array([0], np.int64),
        "class": np.array([1], np.int64),
        "place": np.array([0, 2], np.int64),
    }
    steps = [
        ("ReduceMean", ["images", "axes"], "means", {"keepdims": 0}),
        ("Mul", ["means", "side"], "shifts", {}),
        ("Reshape", ["shifts", "flat"], "moves", {}),
        ("Add", ["boxes", "moves"], "moved", {}),
        ("Mul", ["moves", "zero"], "nothing", {}),
        ("Add", ["scores", "nothing"], "all", {}),
        ("NonMaxSuppression", ["moved", "all", "most", "iou", "conf"], "kept", {}),
        ("Gather", ["kept", "image"], "numbers", {"axis": 1}),
        ("Gather", ["kept", "class"], "classes", {"axis": 1}),
        ("Gather", ["kept", "place"], "places", {"axis": 1}),
        ("GatherND", ["moved", "places"], "rows", {}),
        ("GatherND", ["all", "kept"], "values", {}),
        ("Unsqueeze", ["values", "class"], "column", {}),
        ("Cast", ["numbers"], "n", {"to": TensorProto.FLOAT}),
        ("Cast", ["classes"], "c", {"to": TensorProto.FLOAT}),
        ("Concat", ["n", "rows", "c", "column"], "output", {"axis": 1}),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in steps],
        "yolov7",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 7])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def test_rows_of_yolov7(tmp_path: Path) -> None:
    boxes = np.array([[4, 4, 20, 20], [5, 5, 21, 21], [30, 30, 50, 44], [8, 40, 24, 60]], np.float32)
    scores = np.zeros((1, 7, 4), np.float32)
    scores[0, [2, 2, 6, 0], range(4)] = [0.9, 0.8, 0.7, 0.2]
    path = yolov7_end2end(tmp_path / "yolov7.onnx", boxes, scores)
    images = [np.full((64, 64, 3), value, np.uint8) for value in (0, 51, 0)]
    with pytest.raises(ModelError, match=r"logits \(7 classes\) or yolov7-end2end"):
        load(path)
    with load(path, outputs="yolov7-end2end") as model:
        found = model.predict(images)
    for image, result in zip(images, found, strict=True):
        assert isinstance(result, Detections)
        assert result.class_ids.tolist() == [2, 6]
        np.testing.assert_allclose(result.scores, [0.9, 0.7])
        shift = image.mean() / 255 * 64
        np.testing.assert_allclose(result.boxes, (boxes[[0, 2]] + shift).clip(0, 64), atol=1e-4)


def test_files_without_metadata_are_verified(stripped: Strip, fixtures: Path) -> None:
    told = stripped("yolov5_detect.pt", told=True)[1]
    assert verify(fixtures / "yolov5_detect.pt", told).parity.max_rel < 1e-5
    untold = stripped("yolox_plain.pth", told=False)[1]
    with pytest.raises(ModelError, match="may be yolov5"):
        verify(fixtures / "yolox_plain.pth", untold)
    declared = EngineOptions(outputs="yolox-decoded")
    assert verify(fixtures / "yolox_plain.pth", untold, engine=declared).parity.max_rel < 1e-5
