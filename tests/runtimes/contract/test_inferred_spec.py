"""Files of other exporters: what is stated is followed, what fits alone is assumed, and what may be several
things is refused by their names."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from deploykit_runtimes.contract.inferred_spec import infer_spec, read_spec
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.readings import READINGS, name_of
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.ort.runner import open_ort


def _matrix() -> Any:
    path = Path(__file__).parents[2] / "golden" / "make_foreign.py"
    spec = importlib.util.spec_from_file_location("make_foreign", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_foreign"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


matrix = _matrix()
Case: TypeAlias = Any
IMAGE = TensorInfo(name="x", dtype="float32", shape=("batch", 3, "h", "w"))
FIXED = TensorInfo(name="x", dtype="float32", shape=(1, 3, 640, 640))

ALIKE = {"multilabel": "logits", "probabilities": "logits", "end2end-pose": "features"}
"""What has the shape of something more usual: class scores, whose values are looked at when they come, and
rows of poses, which come as they are. An assumption says so."""


def output(*shape: int | str, dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name="output0", dtype=dtype, shape=shape)


def ultralytics(task: str, **extra: str) -> dict[str, str]:
    return {"task": task, "names": "{0: 'cat', 1: 'dog'}", "stride": "32", "imgsz": "[640, 480]", **extra}


def read(case: Case, declared: str | None = None) -> ModelSpec:
    return infer_spec(case.inputs, case.outputs, case.metadata, declared)


def assert_right(spec: ModelSpec, case: Case) -> None:
    assert (spec.task, spec.output.layout) == (case.truth.task, case.truth.layout), str(case)
    assert spec.output.decoded == case.truth.decoded
    finished = case.truth.layout in ("end2end", "end2end_flat", "features")
    known = case.told != "none" or not finished
    if known and "columns" not in case.free and case.truth.layout not in ("features", "end2end_flat"):
        assert spec.num_classes == case.classes, str(case)
    assert spec.output.mask_channels == (matrix.MASKS if case.truth.task == "segment" else 0)
    assert spec.output.keypoints == (matrix.KEYPOINTS if case.truth.task == "pose" else (0, 0))


def test_no_file_is_misread() -> None:
    """Each of the matrix is read right, or refused by an error that names what is right."""
    counts: Counter[str] = Counter()
    for case in matrix.cases():
        spec = read(case)
        if spec.readings is None:
            found = name_of(spec)
            if found == ALIKE.get(case.truth.name) and case.told == "none":
                counts["assumed"] += 1
                assert spec.assumed
            else:
                assert found == case.truth.name, f"{case}: {found}"
                assert_right(spec, case)
                counts["right"] += 1
                assert spec.assumed
        else:
            counts["refused"] += 1
            names = [text.partition(" ")[0].partition(":")[0] for text in spec.readings]
            assert case.truth.name in names, f"{case}: {spec.readings}"
    assert counts["right"] > 2000
    assert counts["refused"] > 1000


def test_what_is_told_is_never_refused() -> None:
    """Ultralytics' metadata decides every case; without its ``args``, all but shapes of two meanings."""
    refused = [
        case for case in matrix.cases() if case.told == "ultralytics" and read(case).readings is not None
    ]
    assert refused == []
    old = [case for case in matrix.cases() if case.told.startswith("ultralytics without")]
    unclear = [case for case in old if read(case).readings is not None]
    assert {case.classes for case in unclear} <= {2, 3, 80, 296}
    assert len(unclear) < len(old) / 50


def test_what_is_declared_is_followed() -> None:
    for case in [*matrix.cases()][::3]:
        spec = read(case, case.declared)
        assert spec.readings is None
        if case.truth.name != "multilabel":
            assert_right(spec, case)
        assert name_of(spec) == case.truth.name


def test_what_is_declared_wrongly_is_refused_or_fits() -> None:
    counts: Counter[str] = Counter()
    for case in [*matrix.cases()][::17]:
        for name in READINGS:
            declared = f"{name}:17x3" if name.endswith("pose") else name
            try:
                spec = read(case, declared)
            except OptionError as error:
                counts["refused"] += 1
                assert f"--outputs {name}" in error.problem
            else:
                counts["fits"] += 1
                assert name_of(spec) == name
    assert counts["refused"] > 3 * counts["fits"]


def test_a_plain_classifier(write_classifier: Callable[..., Path]) -> None:
    with open_ort(write_classifier(None)) as runner:
        spec = runner.spec
    assert (spec.task, spec.num_classes, spec.inferred) == ("classify", 3, True)
    assert spec.assumed
    assert set(spec.input.dynamic) == {"batch", "height", "width"}


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_a_classifier_that_ends_with_its_activation(name: str) -> None:
    path = Path(matrix.__file__).parent / "cpp" / f"foreign_{name}.onnx"
    spec = read_onnx(path).spec()
    assert spec.output.layout == "probabilities"
    assert spec.assumed[0] == f"scores ends with {name.title()}: scores are probabilities"
    with open_ort(path) as runner:
        assert runner.spec == spec
    assert read_onnx(path).spec("logits").output.layout == "logits"


def test_an_ultralytics_detector() -> None:
    spec = infer_spec((IMAGE,), (output("n", 6, "a"),), ultralytics("detect"))
    assert spec.classes == ("cat", "dog")
    assert (spec.input.height, spec.input.width) == (640, 480)
    assert (spec.preprocess.resize, spec.preprocess.pad_value) == ("letterbox", 114)
    assert (spec.output.layout, spec.output.nms) == ("yolo", False)
    assert spec.input.dynamic["height"].step == 32


def test_an_end_to_end_detector() -> None:
    spec = infer_spec((IMAGE,), (output("n", 300, 6),), ultralytics("detect"))
    assert (spec.output.layout, spec.output.nms) == ("end2end", True)


def test_an_ultralytics_pose_model() -> None:
    metadata = ultralytics("pose", kpt_shape="[17, 3]", names="{0: 'person'}")
    spec = infer_spec((IMAGE,), (output("n", 56, 8400),), metadata)
    assert spec.output.keypoints == (17, 3)
    assert spec.output.layout == "yolo"


def test_an_unrolled_suppression_takes_no_more_images_than_it_was_unrolled_for() -> None:
    args = str({"batch": 4, "nms": True, "dynamic": True})
    metadata = ultralytics("detect", args=args, batch="4", end2end="False")
    spec = infer_spec((IMAGE,), (output("batch", "dim_1", "dim_2"),), metadata)
    assert (spec.output.layout, spec.input.dynamic["batch"].max) == ("end2end", 4)
    assert any("suppression is inside" in text for text in spec.assumed)


@pytest.mark.parametrize(("size", "resize"), [([224, 224], "short"), ([224, 320], "stretch")])
def test_ultralytics_classifiers_stretch_what_is_not_square(size: list[int], resize: str) -> None:
    image = TensorInfo(name="x", dtype="float32", shape=(1, 3, *size))
    spec = infer_spec((image,), (output(1, 2),), ultralytics("classify", imgsz=str(size)))
    assert (spec.preprocess.resize, spec.preprocess.crop) == (resize, tuple(size))


def test_the_repository_of_yolov5() -> None:
    metadata = {"stride": "32", "names": "['person', 'bicycle', 'car']"}
    spec = infer_spec((FIXED,), (output(1, 25200, 8),), metadata)
    assert (spec.origin, spec.output.layout, spec.classes[2]) == ("yolov5", "yolov5", "car")
    assert (spec.output.iou, spec.output.max_det, spec.preprocess.stride) == (0.45, 1000, 0)
    maps = [output(1, 3, side, side, 8) for side in (80, 40, 20)]
    older = infer_spec((FIXED,), (output(1, 25200, 8), *maps), metadata)
    assert (older.output.layout, older.output.names) == ("yolov5", ("output0",))
    classifier = infer_spec((FIXED,), (output(1, 3),), metadata)
    assert (classifier.output.layout, classifier.preprocess.pre_crop) == ("logits", 1.0)


def test_the_axis_that_exporters_call_anchors() -> None:
    """Which one it is tells the heads of YOLOv5 and Ultralytics apart where every size is free."""
    told = {"stride": "32", "names": "['person', 'bicycle', 'car']"}
    assert infer_spec((IMAGE,), (output("batch", "anchors", "dim_2"),), told).output.layout == "yolov5"
    assert infer_spec((IMAGE,), (output("batch", "dim_1", "anchors"),), told).output.layout == "yolo"
    untold = infer_spec((IMAGE,), (output("batch", "anchors", 85),), {}).readings
    assert untold == ("yolov5 (80 classes)", "yolox (80 classes)", "yolox-decoded (80 classes)")


def test_rows_of_yolov7() -> None:
    spec = infer_spec((FIXED,), (output("n", 7),), {})
    assert (spec.output.layout, spec.output.nms, spec.preprocess.resize) == (
        "end2end_flat",
        True,
        "letterbox",
    )
    assert "yolov7-end2end, the only reading that fits" in spec.assumed[0]
    assert infer_spec((FIXED,), (output(1, 7),), {}).output.layout == "logits"
    free = TensorInfo(name="x", dtype="float32", shape=("batch", 3, 640, 640))
    assert infer_spec((free,), (output("batch", 7),), {}).output.layout == "logits"
    assert infer_spec((free,), (output("n", 7),), {}).readings == ("logits (7 classes)", "yolov7-end2end")


def test_what_may_be_several_things() -> None:
    spec = infer_spec((FIXED,), (output(1, 84, 8400),), {})
    assert spec.readings == (
        "yolo (80 classes)",
        "yolo-obb (79 classes)",
        "yolo-pose:JxD (J keypoints of D values)",
    )
    assert infer_spec((FIXED,), (output(1, 5, 8400),), {}).output.layout == "yolo"
    assert infer_spec((FIXED,), (output(1, 300, 6),), {}).output.layout == "end2end"
    assert infer_spec((FIXED,), (output(1, 8400, 85),), {}).readings == (
        "yolov5 (80 classes)",
        "yolox (80 classes)",
        "yolox-decoded (80 classes)",
    )


@pytest.mark.parametrize(
    "outputs",
    [
        (output("n", 4), output("n", dtype="int64"), output("n")),  # boxes, labels and scores of torchvision
        (output("n", 6),),
        (output(1, 3, 80, 80, 85), output(1, 3, 40, 40, 85)),  # raw maps of YOLOv5 and YOLOv7
        (output(1, 100, 4), output(1, 100, dtype="int64")),
        (output(5),),
    ],
)
def test_what_no_reading_fits(outputs: tuple[TensorInfo, ...]) -> None:
    spec = infer_spec((FIXED,), outputs, {})
    assert (spec.task, spec.readings) == ("features", ())
    assert infer_spec((FIXED,), outputs, {}, "features").readings is None


def test_feature_maps() -> None:
    spec = infer_spec((IMAGE,), (output("n", 64, "h", "w"), output("n", 128, "h", "w")), {})
    assert spec.task == "features"
    assert infer_spec((FIXED,), (output(1, 197, 768),), {}).task == "features"
    assert infer_spec((FIXED,), (output(1, 197, 768), output(1, 768)), {}).task == "features"


def test_errors_of_declarations_say_what_fits() -> None:
    with pytest.raises(OptionError) as caught:
        infer_spec((FIXED,), (output(1, 84, 8400),), {}, "yolov5")
    assert caught.value.problem == (
        "--outputs yolov5 wants [N, A, 5 + C], found output0 float32 [1, 84, 8400] for an image of 640x640."
    )
    assert "What fits: yolo (80 classes)" in caught.value.hint
    with pytest.raises(OptionError, match="17x3"):
        infer_spec((FIXED,), (output(1, 56, 8400),), {}, "yolo-pose")
    spec = infer_spec((FIXED,), (output(1, 56, 8400),), {}, "yolo-pose:17x3")
    assert (spec.num_classes, spec.output.keypoints) == (1, (17, 3))
    with pytest.raises(OptionError, match="only poses"):
        infer_spec((FIXED,), (output(1, 84, 8400),), {}, "yolo:17x3")
    with pytest.raises(OptionError, match=r"one of logits, .*, found 'yolov4'"):
        infer_spec((FIXED,), (output(1, 84, 8400),), {}, "yolov4")


def test_a_file_of_our_own_says_itself_what_it_means() -> None:
    spec = infer_spec((FIXED,), (output(1, 84, 8400),), {}, "yolo")
    keys = spec_to_metadata(spec)
    assert read_spec((FIXED,), (output(1, 84, 8400),), keys, "yolo").output == spec.output
    with pytest.raises(
        OptionError, match=r"contradicts the model's own metadata, which says yolo \(detect\)"
    ):
        read_spec((FIXED,), (output(1, 84, 8400),), keys, "yolo-obb")
    assert "readings" not in str(keys)


@pytest.mark.parametrize(
    "inputs",
    [(), (IMAGE, IMAGE), (TensorInfo(name="ids", dtype="int64", shape=("n", 12)),)],
)
def test_what_is_no_image_model_is_refused(inputs: tuple[TensorInfo, ...]) -> None:
    with pytest.raises(ModelError, match="one float image input"):
        infer_spec(inputs, (output("n", 10),), {})


def test_the_vectors_of_cpp_are_what_python_says() -> None:
    path = Path(matrix.__file__).parent / "cpp" / "foreign.txt"
    assert path.read_text(encoding="utf-8") == matrix.golden()
