"""Ultralytics' own predictor reads our files like its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.yolo.ultralytics import dialect as yolo_ultralytics
from deploykit_exporters.graph.onnx_export import export_graph
from deploykit_exporters.graph.ultralytics_metadata import ultralytics_metadata
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess


def spec_of(**changes: Any) -> ModelSpec:
    spec = ModelSpec(
        task="detect",
        family="yolo",
        variant="yolov8n",
        origin="ultralytics",
        input=InputSpec(height=320, width=416),
        preprocess=Preprocess(resize="letterbox", resize_to=(320, 416), stride=32),
        output=OutputSpec(names=("predictions",), layout="yolo"),
        classes=("it's", 'a "cat"'),
        num_classes=2,
    )
    return dataclasses.replace(spec, **changes)


def test_keys_read_as_ultralytics_reads_them() -> None:
    from ultralytics.nn.backends.base import BaseBackend

    class Backend(BaseBackend):  # type: ignore[misc]
        def load_model(self, weight: Any) -> None:
            self.apply_metadata(weight)

        def forward(self, im: Any) -> Any:
            return im

    backend = Backend(ultralytics_metadata(spec_of()), "cpu")
    assert backend.names == {0: "it's", 1: 'a "cat"'}
    assert (backend.stride, backend.task, backend.batch, backend.channels) == (32, "detect", 1, 3)
    assert (backend.imgsz, backend.end2end, backend.dynamic) == ([320, 416], False, False)

    end2end = OutputSpec(names=("detections",), layout="end2end", nms=True, keypoints=(17, 3))
    backend = Backend(ultralytics_metadata(spec_of(task="pose", output=end2end)), "cpu")
    assert backend.end2end is True
    assert backend.kpt_shape == [17, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"family": "vit", "task": "classify"},
        {"task": "features"},
        {"output": OutputSpec(names=("predictions",), layout="yolov5")},
        {"preprocess": Preprocess(included=True)},
    ],
)
def test_no_keys_where_ultralytics_would_misread_the_file(changes: dict[str, Any]) -> None:
    assert ultralytics_metadata(spec_of(**changes)) == {}


def test_classes_without_names_are_numbered() -> None:
    assert "class 1" in ultralytics_metadata(spec_of(classes=()))["names"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name", ["yolov8n", "yolov8n-seg", "yolov8n-pose", "yolo11n-obb", "yolov8n-cls", "yolo26n", "yolov10n"]
)
def test_ultralytics_predicts_the_same_from_our_file(
    name: str, ultralytics_file: Callable[..., Any], photos: dict[str, np.ndarray], tmp_path: Path
) -> None:
    from ultralytics import YOLO

    path, _ = ultralytics_file(name)
    checkpoint = read_checkpoint(path)
    match = yolo_ultralytics.match(checkpoint)
    assert match is not None
    built = yolo_ultralytics.build(checkpoint, match, Hints())
    spec = dataclasses.replace(
        built.spec, input=dataclasses.replace(built.spec.input, dynamic=dict(built.axes))
    )
    assert built.exportable is not None
    graph = export_graph(built.exportable, spec, exporter=built.exporter, opset=18)
    onnx.helper.set_model_props(graph, ultralytics_metadata(spec))
    ours = tmp_path / "ours.onnx"
    onnx.save(graph, ours)

    # nms=False asks the .pt for its end-to-end branch, which is what the file holds.
    end2end = {"nms": False} if spec.output.nms else {}
    options = {"imgsz": 160, "conf": 0.4, "device": "cpu", "verbose": False, "save": False, "rect": True}
    original, exported = YOLO(path), YOLO(str(ours), task=spec.task)
    for photo in (photos["coffee"], photos["cat_wide"]):
        bgr = np.ascontiguousarray(photo[..., ::-1])
        expected = original.predict(bgr, **options, **end2end)[0]
        found = exported.predict(bgr, **options)[0]
        assert found.names == expected.names == {0: "cat", 1: "dog", 2: "crème brûlée"}
        for kind in ("boxes", "obb", "keypoints", "masks", "probs"):
            want, have = getattr(expected, kind), getattr(found, kind)
            assert (want is None) == (have is None)
            if want is None:
                continue
            assert want.data.shape == have.data.shape
            assert want.data.numel()
            gap = row_gap(want.data.float().numpy(), have.data.float().numpy(), share=kind == "masks")
            # Rounding turns single pixels of a mask, which are 0 or 1.
            assert gap <= (1e-3 if kind == "masks" else 1e-4), kind


def row_gap(want: np.ndarray, have: np.ndarray, *, share: bool) -> float:
    """How far the rows of each are from the nearest of the other: detections may swap places by rounding.

    By the largest difference, as a part of the largest number; or by the share of a row that differs.
    """
    want, have = want.reshape(len(want), -1), have.reshape(len(have), -1)
    gaps = np.abs(want[:, None] - have[None])
    rows = (gaps > 0).mean(2) if share else gaps.max(2) / np.abs(want).max()
    return float(max(rows.min(1).max(), rows.min(0).max()))
