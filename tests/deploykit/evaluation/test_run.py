"""Trained models on labelled pictures: the numbers, interruptions, and what cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.errors import InputError, ModelError, OptionError

import deploykit
from deploykit.evaluation.html import to_html
from deploykit.evaluation.mistakes import drawn_mistakes, save_differences
from deploykit.evaluation.options import EvalOptions
from deploykit.evaluation.targets import EvalTarget


def test_a_classifier_has_what_a_loop_over_predict_has_right(vit: Path, digits: Path) -> None:
    report = deploykit.evaluate(vit, digits)
    with deploykit.load(vit) as model:
        answers = {path: model(path) for path in sorted(digits.rglob("*.png"))}
    right = [answer.label == path.parent.name for path, answer in answers.items()]
    scores = report.models[0].scores
    assert scores["right"] == sum(right)
    assert report.models[0].top1 == pytest.approx(sum(right) / 60)
    assert report.models[0].top1 > 0.9
    assert scores["top5"] >= scores["top1"]
    matrix = np.array(scores["confusion"]["matrix"])
    assert matrix.trace() == sum(right)
    assert matrix.sum(0).tolist() == [len(list((digits / str(n)).iterdir())) for n in range(10)]
    assert sum(entry["images"] for entry in scores["classes"]) == 60


def test_the_checkpoint_and_its_file_agree(vit: Path, digits: Path, fixtures: Path) -> None:
    checkpoint = fixtures / "trained" / "vit.pth.tar"
    report = deploykit.evaluate([checkpoint, vit], digits, limit=30, labels=list("0123456789"))
    assert [model.runtime for model in report.models] == ["torch", "ort-cpu"]
    comparison = report.comparisons[0]
    assert (comparison["agreement"], comparison["mcnemar_p"]) == (1.0, 1.0)
    assert "agreement" in repr(report)


def test_several_engines_are_told_apart(vit: Path, digits: Path) -> None:
    report = deploykit.evaluate(vit, digits, runtimes="ort-cpu,ov-cpu", limit=10)
    assert [model.name for model in report.models] == ["vit.onnx on ort-cpu", "vit.onnx on ov-cpu"]


class Interrupting:
    """A report that presses Ctrl-C after some pictures."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)

    def count(self, done: int, total: int) -> None:
        if done >= self.after:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on(vit: Path, digits: Path, cache: Path) -> None:
    whole = deploykit.evaluate(vit, digits)
    assert list((cache / "eval").iterdir()) == []  # nothing is kept of a finished run
    with pytest.raises(KeyboardInterrupt):
        deploykit.evaluate(vit, digits, report=Interrupting(25))
    told = Interrupting(1000)
    resumed = deploykit.evaluate(vit, digits, report=told)
    assert resumed.models[0].resumed == 25
    assert any("25 of them done before" in step for step in told.steps)
    assert resumed.models[0].scores == whole.models[0].scores
    assert list((cache / "eval").iterdir()) == []


@pytest.mark.parametrize("change", ["options", "labels", "fresh"])
def test_what_was_measured_in_another_way_is_not_taken(
    vit: Path, digits: Path, tmp_path: Path, change: str
) -> None:
    data = Path(shutil.copytree(digits, tmp_path / "val"))
    with pytest.raises(KeyboardInterrupt):
        deploykit.evaluate(vit, data, report=Interrupting(25))
    settings: dict[str, object] = {}
    if change == "options":
        settings["limit"] = 30
    elif change == "labels":
        moved = next((data / "3").iterdir())
        moved.rename(data / "4" / moved.name)
    else:
        settings["fresh"] = True
    assert deploykit.evaluate(vit, data, **settings).models[0].resumed == 0


def test_another_size_is_measured_anew_and_told(fixtures: Path, digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "vit.onnx"
    checkpoint = fixtures / "trained" / "vit.pth.tar"
    deploykit.export(checkpoint, output=path, dynamic=True, golden_cases=False, witness=False)
    with pytest.raises(KeyboardInterrupt):
        deploykit.evaluate(path, digits, report=Interrupting(25))
    report = deploykit.evaluate(path, digits, imgsz=64)
    assert report.models[0].resumed == 0
    assert str(report.settings["input"]).startswith("64x64")


def test_a_changed_checkpoint_folder_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"1")
    target = EvalTarget(name="weights", path=tmp_path / "weights", runtime="torch", options=EvalOptions())
    before = target.digest()
    assert target.digest() == before
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"2")
    assert target.digest() != before


def test_a_detector_that_answers_nan_is_an_error(
    fixtures: Path, scenes: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "detect.onnx"
    deploykit.export(
        fixtures / "trained" / "detect.pt", output=path, golden_cases=False, witness=False, simplify=False
    )
    model = onnx.load(path)
    values = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    broken = onnx.numpy_helper.to_array(values) * np.float32(np.nan)
    values.CopyFrom(onnx.numpy_helper.from_array(broken, values.name))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="holds NaN"):
        deploykit.evaluate(path, scenes("detect"))


def test_a_damaged_state_is_told(vit: Path, digits: Path, cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        deploykit.evaluate(vit, digits, report=Interrupting(25))
    (part,) = cache.rglob("*.npz")
    whole = part.read_bytes()
    flipped = whole[:100] + bytes(255 - each for each in whole[100:130]) + whole[130:]
    for damaged in (whole[:-40], whole[:40], flipped, b""):
        part.write_bytes(damaged)
        with pytest.raises(OptionError, match="an interrupted evaluation left") as told:
            deploykit.evaluate(vit, digits)
        assert "--fresh" in told.value.hint
    assert deploykit.evaluate(vit, digits, fresh=True).models[0].resumed == 0


def test_a_broken_picture_is_named_and_the_others_measured(vit: Path, digits: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(digits, tmp_path / "val"))
    broken = sorted((data / "7").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:60])
    report = deploykit.evaluate(vit, data)
    assert report.unread == 1
    assert report.models[0].unread[0].image == str(broken)
    assert report.models[0].scores["images"] == 59
    assert "could not be read" in to_html(report, (), ())


def test_a_data_set_of_broken_pictures_alone_is_an_error(vit: Path, tmp_path: Path) -> None:
    (tmp_path / "val" / "3").mkdir(parents=True)
    (tmp_path / "val" / "3" / "a.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="None of the 1 pictures"):
        deploykit.evaluate(vit, tmp_path / "val")


@pytest.mark.parametrize(
    ("task", "rect"),
    [("detect", False), ("detect", True), ("segment", False), ("pose", False), ("obb", False)],
)
def test_detectors_have_the_numbers_of_ultralytics(
    fixtures: Path, scenes: Callable[[str], Path], tmp_path: Path, task: str, rect: bool
) -> None:
    """On the checkpoint itself, to five decimals; docs/eval.md has the table of all tasks."""
    from ultralytics import YOLO

    checkpoint, data = fixtures / "trained" / f"{task}.pt", scenes(task)
    theirs = YOLO(checkpoint).val(
        data=str(data),
        imgsz=160,
        device="cpu",
        workers=0,
        plots=False,
        rect=rect,
        verbose=False,
        project=str(tmp_path),
    )
    ours = deploykit.evaluate(checkpoint, data, imgsz=160, rect=rect).models[0].scores
    parts = {"boxes": "box", **{"segment": {"masks": "seg"}, "pose": {"keypoints": "pose"}}.get(task, {})}
    for part, name in parts.items():
        wanted = [float(value) for value in getattr(theirs, name).mean_results()]
        found = [ours[part][each] for each in ("precision", "recall", "map50", "map")]
        assert found == pytest.approx(wanted, abs=1e-5)
        assert found[2] > 0.01
    assert ours["objects"] > 20


def test_coco_counts_what_the_detector_finds(detector: Path, scenes: Callable[[str], Path]) -> None:
    data = scenes("detect")
    coco = deploykit.evaluate(detector, data.parent / "val.json").models[0]
    own = deploykit.evaluate(detector, data).models[0]
    # One integrates the curve by the trapezoidal rule, the other takes its mean.
    assert coco.map == pytest.approx(own.map, abs=0.02)
    assert coco.scores["boxes"] == pytest.approx(own.scores["boxes"])
    assert coco.scores["coco"]["boxes"]["map_large"] is None


def test_the_page_holds_all_it_shows(detector: Path, scenes: Callable[[str], Path], tmp_path: Path) -> None:
    report = deploykit.evaluate(detector, scenes("detect"))
    page = to_html(report, drawn_mistakes(report, 3), ())
    assert "data:image/jpeg;base64," in page
    assert page.count("<polyline") > 1
    for outside in ("http://", "https://", 'src="/', "<script", "<link"):
        assert outside not in page.replace("http://www.w3.org", "")
    written = save_differences(report, tmp_path / "drawn", 2)
    assert [path.is_file() for path in written] == [True, True]


def test_two_detectors_are_compared(
    detector: Path, fixtures: Path, scenes: Callable[[str], Path], tmp_path: Path
) -> None:
    checkpoint = fixtures / "trained" / "detect.pt"
    report = deploykit.evaluate([checkpoint, detector], scenes("detect"), imgsz=160, resamples=20)
    values = report.comparisons[0]["map_difference"]["boxes"]
    assert values["difference"] == pytest.approx(report.models[1].map - report.models[0].map, abs=2e-3)
    assert json.loads(json.dumps(report.to_dict()))["comparisons"][0]["agreement"] > 0.9


def test_models_that_cannot_be_compared(
    vit: Path, detector: Path, digits: Path, scenes: Callable[[str], Path]
) -> None:
    with pytest.raises(OptionError, match="tells the class of each picture, and the model's task is detect"):
        deploykit.evaluate([vit, detector], digits, limit=3)
    with pytest.raises(OptionError, match="--rect wants a detector"):
        deploykit.evaluate(detector, scenes("detect"), rect=True)


def test_options_are_checked(vit: Path, digits: Path) -> None:
    with pytest.raises(OptionError, match="Did you mean"):
        deploykit.evaluate(vit, digits, limt=3)
    with pytest.raises(OptionError, match="--limit wants a whole number"):
        deploykit.evaluate(vit, digits, limit=0)
    with pytest.raises(OptionError, match="--labels gives 3 names"):
        deploykit.evaluate(vit, digits, labels=["a", "b", "c"])
    with pytest.raises(OptionError, match="not one of"):
        deploykit.evaluate(vit, digits, runtimes="ort-cpx")
