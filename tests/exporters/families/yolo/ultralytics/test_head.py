"""Which branch of a YOLOv10 or YOLO26 answers: as Ultralytics' own predict() with and without nms=False."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.answers.results import Detections, OrientedDetections, Poses, Segmentation
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.testing import FakeRunner

END_TO_END = ("yolov10n", "yolo26n", "yolo26n-seg", "yolo26n-pose", "yolo26n-obb")
CONF = 0.4


def build(path: Path, **hints: Any) -> BuiltModel:
    return load_checkpoint(path, Hints(**hints)).built


def predictor_of(built: BuiltModel) -> Predictor:
    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            # pixel / 255 and pixel * (1 / 255) differ in the last bit, which decides ties between boxes.
            found: Any = built.module(torch.from_numpy(images * 255).round() / 255)
        arrays = found if isinstance(found, tuple) else (found,)
        return {name: array.numpy() for name, array in zip(built.spec.output.names, arrays, strict=True)}

    return Predictor(FakeRunner(built.spec, infer))


def own_predict(path: Path, photo: np.ndarray, *, nms: bool | None) -> Any:
    from ultralytics import YOLO

    bgr = np.ascontiguousarray(photo[..., ::-1])
    how = {"conf": CONF, "rect": False, "device": "cpu", "verbose": False}
    return YOLO(path).predict(bgr, nms=nms, **how)[0]


@pytest.mark.parametrize(("head", "nms"), [("one-to-many", None), ("one-to-one", False)])
@pytest.mark.parametrize("name", END_TO_END)
def test_both_heads_answer_as_predict_of_ultralytics(
    name: str,
    head: str,
    nms: bool | None,
    ultralytics_file: Callable[..., Any],
    photos: dict[str, np.ndarray],
) -> None:
    path, _ = ultralytics_file(name)
    built = build(path, head=head)
    assert built.spec.output.layout == ("end2end" if head == "one-to-one" else "yolo")
    assert not built.spec.assumed
    predictor = predictor_of(built)
    for photo in (photos["cat"], photos["china"]):
        wanted, ours = own_predict(path, photo, nms=nms), predictor.predict(photo, conf=CONF)
        boxes = wanted.obb if isinstance(ours, OrientedDetections) else wanted.boxes
        assert isinstance(ours, Detections)
        assert len(ours) == len(boxes) > 2
        np.testing.assert_allclose(ours.scores, boxes.conf.numpy(), atol=1e-5)
        order, theirs = sorted_rows(ours.boxes), sorted_rows(boxes.xyxy.numpy())
        np.testing.assert_allclose(ours.boxes[order], boxes.xyxy.numpy()[theirs], atol=0.02)
        if isinstance(ours, Poses):
            np.testing.assert_allclose(
                ours.keypoints[order], wanted.keypoints.data.numpy()[theirs], rtol=1e-4, atol=0.05
            )
        if isinstance(ours, Segmentation):
            assert len(ours.masks) == len(wanted.masks)


@pytest.mark.parametrize(("head", "nms"), [("one-to-many", None), ("one-to-one", False)])
@pytest.mark.parametrize("inside", [False, True])
def test_exported_files_answer_alike(
    head: str,
    nms: bool | None,
    inside: bool,
    ultralytics_file: Callable[..., Any],
    photos: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    """Also with pre- and post-processing inside the graph, and with the package as the second witness."""
    import deploykit

    yaml = {
        "end2end": True,
        "reg_max": 1,
        "width_multiple": 0.25,
        "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [64, 3, 2]]],
        "head": [[-1, 1, "Conv", [128, 3, 2]], [[2, 3], 1, "Detect", ["nc"]]],
    }
    path, _ = ultralytics_file(yaml, imgsz=96)
    exported = deploykit.export(
        path, output=tmp_path / "model.onnx", head=head, preprocess=inside, postprocess=inside, conf=CONF
    )
    assert exported.spec.parity is not None
    assert exported.spec.parity.witness.startswith("ultralytics 8")
    wanted = own_predict(path, photos["cat"], nms=nms).boxes
    with deploykit.load(exported.path, threads=1) as model:
        ours = model.predict(photos["cat"], conf=CONF)
    assert len(ours) == len(wanted) > 2
    np.testing.assert_allclose(ours.scores, wanted.conf.numpy(), atol=1e-4)
    order, theirs = sorted_rows(ours.boxes), sorted_rows(wanted.xyxy.numpy())
    np.testing.assert_allclose(ours.boxes[order], wanted.xyxy.numpy()[theirs], atol=0.1)


def sorted_rows(boxes: np.ndarray) -> np.ndarray:
    """An order that equal scores do not change."""
    return np.lexsort(np.round(boxes, 1).T)


@pytest.mark.parametrize("head", ["one-to-many", "one-to-one"])
@pytest.mark.parametrize("name", END_TO_END)
def test_the_exportable_form_has_the_same_head(
    name: str, head: str, ultralytics_file: Callable[..., Any]
) -> None:
    from deploykit_exporters.proof.tensors import compare

    built = build(ultralytics_file(name)[0], head=head)
    assert built.exportable is not None
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pairs = [module(images) for module in (built.module, built.exportable)]
    want, have = (
        dict(zip(built.spec.output.names, p if isinstance(p, tuple) else (p,), strict=True)) for p in pairs
    )
    for group in built.groups:
        assert compare(want[group.output].numpy(), have[group.output].numpy(), group).max_rel <= 1e-5


def test_the_branch_that_is_taken_unasked_is_told(ultralytics_file: Callable[..., Any]) -> None:
    (assumed,) = build(ultralytics_file("yolo26n")[0]).spec.assumed
    assert assumed.startswith("the one-to-one head")
    assert "nms=False" in assumed
    assert "--head one-to-many" in assumed
    assert not build(ultralytics_file("yolo11n")[0]).spec.assumed


@pytest.mark.parametrize(
    ("name", "fused", "asked", "found"),
    [
        ("yolo11n", None, "one-to-one", "its Detect has the one-to-many head"),
        ("yolo26n", True, "one-to-many", "its Detect has the one-to-one head"),
        ("yolo26n", False, "one-to-one", "its Detect has the one-to-many head"),
        ("yolo11n-cls", None, "one-to-one", "its Classify has the no detection head"),
        ("yolo26n", None, "head.cls", "its Detect has the one-to-one and one-to-many heads"),
    ],
)
def test_a_head_that_is_not_in_the_file_is_refused(
    name: str, fused: bool | None, asked: str, found: str, ultralytics_file: Callable[..., Any]
) -> None:
    """Fusing, which predict() does to its model, leaves one of the two."""

    def fuse(model: Any) -> None:
        model.end2end = fused
        model.fuse(verbose=False)

    path, _ = ultralytics_file(name, edit=fuse if fused is not None else None)
    with pytest.raises(OptionError, match=f"--head {asked} is not in this file: {found}"):
        build(path, head=asked)


@pytest.mark.parametrize("end2end", [True, False])
def test_what_a_fused_file_still_has_is_taken(end2end: bool, ultralytics_file: Callable[..., Any]) -> None:
    def fuse(model: Any) -> None:
        model.end2end = end2end
        model.fuse(verbose=False)

    spec = build(ultralytics_file("yolo26n", edit=fuse)[0]).spec
    assert spec.output.layout == ("end2end" if end2end else "yolo")
    assert not spec.assumed
