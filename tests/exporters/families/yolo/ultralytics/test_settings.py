"""Every setting of an Ultralytics file, one at a time: answers of Ultralytics' own predict(), or a refusal.

The networks are tiny ones of Ultralytics' own layers, the comparisons go from the photo to the result.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.yolo.detector_spec import plain_attributes
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.answers.results import Classification, Detections, OrientedDetections, Poses
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.testing import FakeRunner

BACKBONE = [
    [-1, 1, "Conv", [64, 3, 2]],
    [-1, 1, "Conv", [64, 3, 2]],
    [-1, 1, "Conv", [64, 3, 2]],  # 8
    [-1, 3, "C2f", [64, True]],
    [-1, 1, "Conv", [128, 3, 2]],  # 16
    [-1, 1, "SPPF", [128, 5]],
]
HEADS: dict[str, list[Any]] = {
    "detect": ["Detect", ["nc"]],
    "v10": ["v10Detect", ["nc"]],
    "segment": ["Segment", ["nc", 8, 16]],
    "segment26": ["Segment26", ["nc", 8, 16]],
    "pose": ["Pose", ["nc", "kpt_shape"]],
    "pose26": ["Pose26", ["nc", "kpt_shape"]],
    "obb": ["OBB", ["nc", 1]],
    "obb26": ["OBB26", ["nc", 1]],
    "classify": ["Classify", ["nc"]],
}


def yaml_of(head: str, /, **changes: Any) -> dict[str, Any]:
    kind, arguments = copy.deepcopy(HEADS[head])
    yaml: dict[str, Any] = {
        "nc": 3,
        "depth_multiple": 0.34,
        "width_multiple": 0.25,
        "kpt_shape": [4, 3],
        "backbone": copy.deepcopy(BACKBONE),
        "head": [[-1 if kind == "Classify" else [3, 5], 1, kind, arguments]],
    }
    return {**yaml, **changes}


def predictor_of(built: BuiltModel) -> Predictor:
    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        # pixel / 255 and pixel * (1 / 255) differ in the last bit, which decides ties between boxes.
        tensor = torch.from_numpy(images)
        with torch.inference_mode():
            found: Any = built.module(
                tensor if built.spec.task == "classify" else (tensor * 255).round() / 255
            )
        arrays = found if isinstance(found, tuple) else (found,)
        return {name: one.numpy() for name, one in zip(built.spec.output.names, arrays, strict=True)}

    return Predictor(FakeRunner(built.spec, infer))


def own_predict(path: Path, photo: np.ndarray, *, one_to_one: bool) -> Any:
    from ultralytics import YOLO

    bgr = np.ascontiguousarray(photo[..., ::-1])
    how = {"rect": False, "device": "cpu", "verbose": False}
    return YOLO(path).predict(bgr, nms=False if one_to_one else None, **how)[0]


def assert_equal(built: BuiltModel, path: Path, photo: np.ndarray) -> None:
    """From the photo to the result, with the default thresholds of either side."""
    wanted = own_predict(path, photo, one_to_one=built.spec.output.layout == "end2end")
    every = {"top_k": built.spec.num_classes} if built.spec.task == "classify" else {}
    ours = predictor_of(built).predict(photo, **every)
    if isinstance(ours, Classification):
        scores = np.zeros(built.spec.num_classes)
        scores[[one.class_id for one in ours.top]] = [one.score for one in ours.top]
        np.testing.assert_allclose(scores, wanted.probs.data.numpy(), atol=1e-5)
        return
    boxes = wanted.obb if isinstance(ours, OrientedDetections) else wanted.boxes
    assert isinstance(ours, Detections)
    assert len(ours) == len(boxes) > 0
    np.testing.assert_allclose(ours.scores, boxes.conf.numpy(), atol=1e-4)
    order, theirs = (np.lexsort(np.round(rows, 1).T) for rows in (ours.boxes, boxes.xyxy.numpy()))
    np.testing.assert_allclose(ours.boxes[order], boxes.xyxy.numpy()[theirs], atol=0.05)
    if isinstance(ours, Poses):
        points = wanted.keypoints.data.numpy()[theirs]
        np.testing.assert_allclose(ours.keypoints[order], points, rtol=1e-3, atol=0.05)


def outcome(path: Path, photo: np.ndarray, **hints: Any) -> str:
    """``refused``, or ``equal`` to Ultralytics."""
    try:
        built = load_checkpoint(path, Hints(**hints)).built
    except CheckpointError:
        return "refused"
    assert_equal(built, path, photo)
    return "equal"


def rewritten(path: Path, folder: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """The same file with another dictionary around the model."""
    checkpoint = torch.load(path, weights_only=False)
    edit(checkpoint)
    changed = folder / "changed.pt"
    torch.save(checkpoint, changed)
    return changed


YAMLS: list[tuple[str, dict[str, Any]]] = [
    *((head, {}) for head in HEADS),
    *((head, {"nc": nc}) for head in ("detect", "segment", "pose", "obb", "classify") for nc in (1, 7)),
    *(
        ("detect", {"activation": name})
        for name in (
            *("nn.ReLU()", "nn.LeakyReLU(0.1)", "nn.Hardswish()", "nn.GELU()", "torch.nn.ELU(alpha=0.5)"),
            *("nn.ReLU6()", "nn.Mish()", "nn.Identity()"),
        )
    ),
    *(("detect", {"reg_max": bins}) for bins in (1, 4, 16)),
    *((head, {"end2end": True}) for head in HEADS if head not in ("v10", "classify")),
    *((head, {"end2end": True, "reg_max": 1}) for head in ("detect", "segment26", "pose26", "obb26")),
    ("detect", {"end2end": False}),
    *(("detect", {"width_multiple": width}) for width in (0.125, 0.5)),
    *(("detect", {"depth_multiple": depth}) for depth in (1.0, 0.67)),
    *(("detect", {"scales": {"n": [0.34, 0.25, 64], "s": [1.0, 0.5, 128]}, "scale": s}) for s in "ns"),
    *(
        (head, {"kpt_shape": shape})
        for head in ("pose", "pose26")
        for shape in ([17, 3], [5, 2], [1, 3], [2, 2])
    ),
    ("segment", {"head": [[[3, 5], 1, "Segment", ["nc", 32, 64]]]}),
    ("detect", {"head": [[[3], 1, "Detect", ["nc"]]]}),
    ("detect", {"head": [[[1, 3, 5], 1, "Detect", ["nc"]]]}),
    ("detect", {"head": [[-1, 1, "Conv", [128, 3, 2]], [[3, 5, 6], 1, "Detect", ["nc"]]]}),
    ("detect", {"inplace": False}),
    ("detect", {"something": "else"}),
]


@pytest.mark.parametrize(("head", "changes"), YAMLS, ids=str)
def test_settings_of_the_yaml_are_honoured(
    head: str, changes: dict[str, Any], ultralytics_file: Callable[..., Any], photos: dict[str, np.ndarray]
) -> None:
    path, _ = ultralytics_file(yaml_of(head, **changes), imgsz=64)
    assert outcome(path, photos["cat"]) == "equal"
    if head not in ("classify",) and (changes.get("end2end") or head == "v10"):
        assert outcome(path, photos["china"], head="one-to-many") == "equal"


TRAINING: list[dict[str, Any]] = [
    *({"imgsz": size} for size in (32, 96, 90, [64, 96])),
    *({"single_cls": value} for value in (True, False)),
    *({"rect": True}, {"half": True}, {"conf": 0.9}, {"iou": 0.1}, {"max_det": 5}, {"agnostic_nms": True}),
    *({"nms": True}, {"nms": False}, {"augment": True}, {"classes": [0]}, {"retina_masks": True}),
    *({"batch": 64}, {"data": "other.yaml"}, {"model": "yolo11n.pt"}, {"pretrained": False}, {"freeze": 10}),
    *({"dropout": 0.5}, {"overlap_mask": False}, {"mask_ratio": 1}, {"int8": True}, {"dynamic": True}),
    *({"compile": True}, {"fraction": 0.5}, {"unheard_of": 3}),
]


@pytest.mark.parametrize("arguments", TRAINING, ids=str)
def test_training_arguments_answer_as_predict_takes_them(
    arguments: dict[str, Any],
    ultralytics_file: Callable[..., Any],
    photos: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    path, _ = ultralytics_file(yaml_of("detect"), imgsz=64)
    changed = rewritten(path, tmp_path, lambda file: file["train_args"].update(arguments))
    assert outcome(changed, photos["cat"]) == "equal"


@pytest.mark.parametrize("task", ["segment", "classify", "unheard"])
def test_a_task_that_is_not_that_of_the_head_is_refused(
    task: str, ultralytics_file: Callable[..., Any], photos: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path, _ = ultralytics_file(yaml_of("detect"), imgsz=64)
    changed = rewritten(path, tmp_path, lambda file: file["train_args"].update(task=task))
    with pytest.raises(CheckpointError, match=f"train_args says task = '{task}'") as refused:
        load_checkpoint(changed, Hints())
    assert "--ignore train_args:task" in refused.value.hint
    load_checkpoint(changed, Hints(ignore=("train_args:task",)))


HEAD: list[tuple[dict[str, Any], str]] = [
    *(({name: value}, "equal") for name in ("export", "dynamic") for value in (True, False)),
    *(({"format": name}, "equal") for name in ("onnx", "engine", "imx", None)),
    *(({"max_det": count}, "equal") for count in (5, 1000)),
    ({"agnostic_nms": True}, "equal"),
    ({"shape": (1, 3, 8, 8)}, "equal"),
    ({"inplace": False}, "equal"),
    ({"legacy": True}, "equal"),
    ({"conf": 0.9, "iou": 0.1}, "equal"),
    ({"unheard_of": 3}, "equal"),
    ({"xyxy": True}, "refused"),
]


@pytest.mark.parametrize("end2end", [True, False])
@pytest.mark.parametrize(("attributes", "expected"), HEAD, ids=str)
def test_attributes_of_the_head(
    attributes: dict[str, Any],
    expected: str,
    end2end: bool,
    ultralytics_file: Callable[..., Any],
    photos: dict[str, np.ndarray],
) -> None:
    def change(model: Any) -> None:
        for name, value in attributes.items():
            setattr(model.model[-1], name, value)

    path, _ = ultralytics_file(yaml_of("detect", end2end=end2end), imgsz=64, edit=change)
    assert outcome(path, photos["cat"]) == expected


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"stride": torch.tensor([8.0, 32.0])}, "model says stride"),
        ({"kpt_shape": [2, 6]}, "model says kpt_shape"),
        ({"task": "detect"}, "says task = 'detect'"),
        ({"inplace": False, "criterion": None, "pt_path": "best.pt", "nc": 80}, ""),
        ({"end2end_": True, "unheard_of": {"a": 1}}, ""),
    ],
)
def test_attributes_of_the_model(
    attributes: dict[str, Any],
    problem: str,
    ultralytics_file: Callable[..., Any],
    photos: dict[str, np.ndarray],
) -> None:
    def change(model: Any) -> None:
        for name, value in attributes.items():
            setattr(model, name, value)

    path, _ = ultralytics_file(yaml_of("pose"), imgsz=64, edit=change)
    if not problem:
        assert outcome(path, photos["cat"]) == "equal"
        return
    with pytest.raises(CheckpointError, match=problem) as refused:
        load_checkpoint(path, Hints())
    (name,) = attributes
    assert f":{name}" in refused.value.hint
    load_checkpoint(path, Hints(ignore=(name,)))


def test_an_ignored_setting_counts_as_not_given(ultralytics_file: Callable[..., Any]) -> None:
    path, _ = ultralytics_file(yaml_of("detect"), imgsz=64)
    spec = load_checkpoint(path, Hints(ignore=("imgsz", "model:names"))).built.spec
    assert (spec.input.height, spec.classes) == (640, ())
    assert len(spec.assumed) == 2


def test_a_quantised_training_is_refused(ultralytics_file: Callable[..., Any], tmp_path: Path) -> None:
    path, _ = ultralytics_file(yaml_of("detect"), imgsz=64)
    changed = rewritten(path, tmp_path, lambda file: file.update(modelopt={"version": "0.1"}))
    with pytest.raises(CheckpointError, match="file says modelopt"):
        load_checkpoint(changed, Hints())
    load_checkpoint(changed, Hints(ignore=("file:modelopt",)))


def test_everything_is_accounted_for(ultralytics_file: Callable[..., Any], tmp_path: Path) -> None:
    path, model = ultralytics_file(yaml_of("pose"), imgsz=64)
    changed = rewritten(path, tmp_path, lambda file: file.update(colour="blue", license="AGPL-3.0"))
    settings = {one.path: one for one in load_checkpoint(changed, Hints()).built.settings}
    for name in ("train_args:imgsz", "model:names", "head:kpt_shape", "head:nc", "model:task"):
        assert settings[name].treatment == "honoured"
    for name in ("file:license", "file:updates", "train_args:data", "yaml:activation", "head:max_det"):
        assert name not in settings or settings[name].treatment == "harmless"
    assert settings["file:colour"].treatment == "unknown"
    assert {f"head:{name}" for name in plain_attributes(model.model[-1])} <= settings.keys()
    assert {f"yaml:{name}" for name in model.yaml} <= settings.keys()
    assert [name for name, one in settings.items() if one.treatment == "unknown"] == ["file:colour"]


def test_a_config_beside_whole_modules_is_refused(ultralytics_file: Callable[..., Any]) -> None:
    path, _ = ultralytics_file(yaml_of("detect"), imgsz=64)
    with pytest.raises(CheckpointError, match=r"config has settings.*: activation = 'nn\.ReLU"):
        load_checkpoint(path, Hints(config={"activation": "nn.ReLU()"}))


def transforms_of(kind: str, size: int) -> Any:
    from torchvision import transforms as T
    from ultralytics.data.augment import classify_transforms

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    plain = classify_transforms(size)
    if kind == "imagenet":
        return classify_transforms(size, mean=mean, std=std, interpolation="BICUBIC")
    if kind == "unnormalised":
        return T.Compose(plain.transforms[:3])
    if kind.startswith("old"):
        from ultralytics.data.augment import CenterCrop, ToTensor

        return T.Compose(
            [CenterCrop(size), ToTensor(), *([T.Normalize(mean, std)] * (kind == "old, normalised"))]
        )
    if kind == "stretched":
        return T.Compose([T.Resize((size, size)), *plain.transforms[1:]])
    if kind == "no resize":
        return T.Compose(plain.transforms[1:])
    if kind == "at most":
        return T.Compose([T.Resize(size, max_size=2 * size), *plain.transforms[1:]])
    if kind == "mixed":
        from ultralytics.data.augment import CenterCrop

        return T.Compose([T.Resize(size), CenterCrop(size), *plain.transforms[2:]])
    if kind == "grey":
        return T.Compose([*plain.transforms[:2], T.Grayscale(3), *plain.transforms[2:]])
    if kind == "another crop":
        return T.Compose([T.Resize(size * 2), *plain.transforms[1:]])
    return T.Compose([plain.transforms[1], plain.transforms[0], *plain.transforms[2:]])


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("imagenet", 64, "equal"),
        ("unnormalised", 64, "equal"),
        ("old", 64, "equal"),
        ("old, normalised", 64, "equal"),
        ("stretched", 64, "equal"),
        ("mixed", 64, "refused"),
        ("no resize", 64, "refused"),
        ("at most", 64, "refused"),
        ("grey", 64, "refused"),
        ("another crop", 64, "refused"),
        ("turned round", 64, "refused"),
    ],
)
def test_transforms_of_a_classifier(
    kind: str,
    size: int,
    expected: str,
    ultralytics_file: Callable[..., Any],
    photos: dict[str, np.ndarray],
) -> None:
    def attach(model: Any) -> None:
        model.transforms = transforms_of(kind, size)

    path, _ = ultralytics_file(yaml_of("classify"), imgsz=64, edit=attach)
    assert outcome(path, photos["cat"]) == expected
    if expected == "equal":
        built = load_checkpoint(path, Hints()).built
        assert "100.00% of the pixels equal" in ask_witness(built, built.spec)
    else:
        spec = load_checkpoint(path, Hints(ignore=("model:transforms",))).built.spec
        assert spec.preprocess.mean == (0, 0, 0)


def test_transforms_for_another_size_are_told(ultralytics_file: Callable[..., Any]) -> None:
    """predict() takes its own there, which leave the mean and std of the training out."""

    def attach(model: Any) -> None:
        model.transforms = transforms_of("imagenet", 96)

    path, _ = ultralytics_file(yaml_of("classify"), imgsz=64, edit=attach)
    spec = load_checkpoint(path, Hints()).built.spec
    assert spec.preprocess.mean == pytest.approx((0.485, 0.456, 0.406))
    assert any("transforms, which are for 96x96" in line for line in spec.assumed)
