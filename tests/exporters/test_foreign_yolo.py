"""YOLOv5's and YOLOX's heads without deploykit's metadata: the answers of the file that has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes import load
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.results import Detections, Segmentation

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
