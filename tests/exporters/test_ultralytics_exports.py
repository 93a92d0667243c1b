"""ONNX files that Ultralytics' own exporter writes: our runtime gives its predictor's answers from them."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_runtimes import load
from deploykit_runtimes.answers.results import Classification, OrientedDetections, Poses, Segmentation
from deploykit_runtimes.errors import ModelError, OptionError
from ultralytics.utils import ops

PHOTOS = ("cat", "flower_portrait", "cat_wide", "cat_small")
CLASSES = 3
SIZE = 160

Export = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(ultralytics_file, tmp_path_factory) -> Export:
    """Ultralytics' ONNX export of a small model with the arguments; each is made once."""
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("onnx")
    made: dict[str, Path] = {}

    def export(name: str, **arguments: Any) -> Path:
        key = f"{name} {sorted(arguments.items())}"
        if key not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch's exporter
                chosen = {"imgsz": SIZE, **arguments}
                path = YOLO(ultralytics_file(name)[0]).export(
                    format="onnx", device="cpu", verbose=False, **chosen
                )
            made[key] = Path(shutil.move(path, folder / f"{len(made)}.onnx"))
        return made[key]

    return export


def theirs(path: Path, photos: list[np.ndarray], task: str, **options: Any) -> list[Any]:
    from ultralytics import YOLO

    model = YOLO(path, task=task)
    images = [np.ascontiguousarray(photo[..., ::-1]) for photo in photos]
    return [model.predict(image, device="cpu", verbose=False, **options)[0] for image in images]


def assert_same(ours: Any, wanted: Any, shape: tuple[int, ...]) -> None:
    boxes = wanted.obb if isinstance(ours, OrientedDetections) else wanted.boxes
    assert len(ours) == len(boxes)
    np.testing.assert_allclose(ours.scores, boxes.conf.numpy(), atol=1e-4)
    np.testing.assert_array_equal(ours.class_ids, boxes.cls.numpy().astype(int))
    if isinstance(ours, OrientedDetections):
        np.testing.assert_allclose(ours.rotated, boxes.xywhr.numpy(), atol=0.05)
        return
    np.testing.assert_allclose(ours.boxes, boxes.xyxy.numpy(), atol=0.05)
    if isinstance(ours, Poses):
        np.testing.assert_allclose(ours.keypoints, wanted.keypoints.data.numpy(), atol=0.05)
    if isinstance(ours, Segmentation) and len(ours):
        masks = ops.scale_masks(wanted.masks.data[None].float(), shape[:2])[0].numpy() > 0.5
        assert (masks != ours.masks).mean() < 0.005  # their edges are resized another way


LAYOUTS = {
    "raw": {},
    "raw, dynamic": {"dynamic": True},
    "nms": {"nms": True},
    "nms, max_det as many as raw values": {"nms": True, "max_det": 4 + CLASSES},
    "nms, batches of exactly 2": {"nms": True, "batch": 2},
    "nms, dynamic": {"nms": True, "dynamic": True},
    "nms, dynamic, batches of 2": {"nms": True, "dynamic": True, "batch": 2},
    "nms, dynamic, max_det as many as raw values": {"nms": True, "dynamic": True, "max_det": 4 + CLASSES},
}
MODELS = {
    "yolo11n": "detect",
    "yolo11n-seg": "segment",
    "yolo11n-pose": "pose",
    "yolo11n-obb": "obb",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_boxes(name: str, layout: str, exported: Export, photos) -> None:
    arguments = dict(LAYOUTS[layout])
    if "max_det" in arguments and name != "yolo11n":
        arguments["max_det"] += {"yolo11n-seg": 32, "yolo11n-pose": 51, "yolo11n-obb": 1}[name]
    path = exported(name, **arguments)
    pictures = [photos[photo] for photo in PHOTOS]
    size = {"imgsz": SIZE} if arguments.get("dynamic") else {}
    wanted = theirs(path, pictures, MODELS[name], conf=0.3, **size)
    with load(path, threads=1) as model:
        assert model.spec.task == MODELS[name]
        assert model.spec.output.nms == bool(arguments.get("nms"))
        one_by_one = [model.predict(photo, conf=0.3) for photo in pictures]
        together = model.predict(pictures, conf=0.3)
    assert sum(map(len, one_by_one)) > 3
    for ours, batched, theirs_, photo in zip(one_by_one, together, wanted, pictures, strict=True):
        assert_same(ours, theirs_, photo.shape)
        np.testing.assert_allclose(batched.scores, ours.scores, atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"nms": True}])
def test_half_precision(arguments: dict[str, Any], exported: Export, photos) -> None:
    """Pixels are divided another way there, which shows in the last bit of a half."""
    path = exported("yolo11n", quantize=16, **arguments)
    wanted = theirs(path, [photos["cat"]], "detect", conf=0.3)[0].boxes
    with load(path, threads=1) as model:
        ours = model.predict(photos["cat"], conf=0.3)
    assert len(ours) == pytest.approx(len(wanted), abs=2)
    np.testing.assert_allclose(ours.scores[:10], wanted.conf.numpy()[:10], atol=2e-3)


@pytest.mark.parametrize("arguments", [{"nms": False}, {"nms": False, "dynamic": True}, {}, {"nms": True}])
@pytest.mark.parametrize("name", ["yolo26n", "yolov10n"])
def test_both_heads_of_end_to_end_models(
    name: str, arguments: dict[str, Any], exported: Export, photos
) -> None:
    path = exported(name, **arguments)
    size = {"imgsz": SIZE} if arguments.get("dynamic") else {}
    wanted = theirs(path, [photos["cat"]], "detect", conf=0.3, **size)[0]
    with load(path, threads=1) as model:
        assert model.spec.output.layout == ("end2end" if "nms" in arguments else "yolo")
        assert_same(model.predict(photos["cat"], conf=0.3), wanted, photos["cat"].shape)


@pytest.mark.parametrize("size", [SIZE, (96, 160), (160, 96)])
def test_classifiers_of_any_shape(size: Any, exported: Export, photos) -> None:
    path = exported("yolo11n-cls", imgsz=size)
    pictures = [photos[photo] for photo in PHOTOS]
    with load(path, threads=1) as model:
        for photo, wanted in zip(pictures, theirs(path, pictures, "classify"), strict=True):
            ours = model.predict(photo)
            assert isinstance(ours, Classification)
            found = np.zeros(CLASSES, np.float32)
            for entry in ours.top:
                found[entry.class_id] = entry.score
            np.testing.assert_allclose(found, wanted.probs.data.numpy(), atol=1e-4)


def test_a_classifier_of_any_size_keeps_its_way_of_cropping(exported: Export, photos) -> None:
    path = exported("yolo11n-cls", dynamic=True)
    wanted = theirs(path, [photos["cat"]], "classify", imgsz=96)[0]
    with load(path, threads=1) as model:
        top = model.predict(photos["cat"], imgsz=96).top[0]
        assert (top.class_id, round(top.score, 4)) == (
            wanted.probs.top1,
            round(float(wanted.probs.top1conf), 4),
        )
        with pytest.raises(OptionError, match="Ultralytics crops images for a square size"):
            model.predict(photos["cat"], imgsz=(96, 160))


def test_what_the_file_tells_is_not_argued_with(exported: Export) -> None:
    path = exported("yolo11n", nms=True, max_det=4 + CLASSES)
    with load(path, outputs="end2end") as model:
        assert model.spec.output.layout == "end2end"
    with pytest.raises(OptionError, match=r"--outputs yolo wants \[N, 4 \+ C, A\] with 3 classes"):
        load(exported("yolo11n", nms=True), outputs="yolo")
    with pytest.raises(OptionError, match="names the task detect"):
        load(path, outputs="yolo-obb")


def test_a_graph_that_contradicts_its_metadata(exported: Export, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(exported("yolo11n", nms=True))
    for entry in model.metadata_props:
        if entry.key == "args":
            entry.value = entry.value.replace("'nms': True", "'nms': None")
    onnx.save(model, tmp_path / "altered.onnx")
    with pytest.raises(ModelError, match=r"end2end=False: \[N, 4 \+ C, A\] with 3 classes, found output0"):
        load(tmp_path / "altered.onnx")
    with load(tmp_path / "altered.onnx", outputs="end2end") as declared:
        assert declared.spec.output.layout == "end2end"


def test_a_release_that_does_not_tell_whether_boxes_are_finished(
    exported: Export, tmp_path: Path, photos
) -> None:
    """Without ``args`` and ``end2end``, as releases before 8.3 wrote them: the shapes decide."""
    import onnx

    for arguments in ({}, {"nms": True}, {"nms": True, "max_det": 4 + CLASSES}, {"dynamic": True}):
        model = onnx.load(exported("yolo11n", **arguments))
        kept = [entry for entry in model.metadata_props if entry.key not in ("args", "end2end", "head")]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        onnx.save(model, tmp_path / "old.onnx")
        with load(tmp_path / "old.onnx", threads=1) as old:
            assert old.spec.output.nms == bool(arguments.get("nms"))
            found = old.predict(photos["cat"], conf=0.3)
        with load(exported("yolo11n", **arguments), threads=1) as told:
            np.testing.assert_array_equal(found.boxes, told.predict(photos["cat"], conf=0.3).boxes)


def test_rtdetr_is_refused_by_what_it_is(tmp_path: Path) -> None:
    """Its boxes are shares of the image, which no reading is."""
    import onnx
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    rows = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 300, 6])
    value = onnx.numpy_helper.from_array(np.zeros((1, 300, 6), np.float32), "rows")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Add", ["rows", "mean"], ["output0"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [image], [rows], [value]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    helper.set_model_props(
        model, {"task": "detect", "names": "{0: 'a', 1: 'b'}", "stride": "32", "head": "RTDETRDecoder"}
    )
    onnx.save(model, tmp_path / "rtdetr.onnx")
    with pytest.raises(ModelError, match="is unknown"):
        load(tmp_path / "rtdetr.onnx")
    with pytest.raises(OptionError, match="RT-DETR are fractions"):
        load(tmp_path / "rtdetr.onnx", outputs="end2end")
    with load(tmp_path / "rtdetr.onnx", outputs="features") as model:
        assert torch.from_numpy(model.predict(np.zeros((64, 64, 3), np.uint8)).maps[0].copy()).shape == (
            300,
            6,
        )
