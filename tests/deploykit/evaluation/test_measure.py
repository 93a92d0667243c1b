"""The core: records of (picture, truth) after (picture, truth)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.testing import FakeRunner
from PIL import Image

import deploykit
from deploykit.evaluation.data.truth import Objects
from deploykit.evaluation.measure import Measure, thresholds_of


def test_pictures_in_memory_are_measured_without_torch(vit: Path, digits: Path) -> None:
    paths = sorted(digits.rglob("*.png"))[:12]
    with deploykit.load(vit) as model:
        measure = Measure.of(model, workers=2, batch=5)
        pairs = [(np.asarray(Image.open(path)), int(path.parent.name)) for path in paths]
        records = [each for each in measure.records(pairs) if not isinstance(each, InputError)]
    assert [int(record["truth"][0]) for record in records] == [truth for _, truth in pairs]
    assert measure.scores(records)["top1"] > 0.8


def test_what_cannot_be_read_keeps_its_place(vit: Path, digits: Path, tmp_path: Path) -> None:
    paths = sorted(digits.rglob("*.png"))[:7]
    (tmp_path / "broken.png").write_bytes(b"no")
    paths[2:2] = [tmp_path / "broken.png"]
    paths += [tmp_path / "gone.png"]
    with deploykit.load(vit) as model:
        found = list(Measure.of(model, workers=3, batch=4).records((path, 0) for path in paths))
    assert [place for place, each in enumerate(found) if isinstance(each, InputError)] == [2, 8]


def detector(rows: np.ndarray) -> Predictor:
    """A model of two classes that answers these rows, x, y, w, h and two scores, for every picture."""
    spec = ModelSpec(
        task="detect",
        family="yolo",
        variant="v",
        origin="o",
        input=InputSpec(height=64, width=64),
        preprocess=Preprocess(
            resize="letterbox", resize_to=(64, 64), anchor="center", resampler="opencv", scale=1 / 255
        ),
        output=OutputSpec(layout="yolo", names=("output",)),
        classes=("a", "b"),
        num_classes=2,
    )
    return Predictor(FakeRunner(spec, lambda _: {"output": rows.T[None].astype(np.float32)}))


def test_a_box_counts_for_every_class_above_the_confidence() -> None:
    """And the truth is carried into the letterbox: 64 x 32 pixels lie 16 below its top."""
    rows = np.array([[32, 32, 20, 20, 0.9, 0.4], [32, 32, 20, 20, 0.0005, 0.0004]])
    truth = Objects(
        class_ids=np.array([1]), boxes=np.array([[22 / 64, 6 / 32, 42 / 64, 26 / 32]], np.float32)
    )
    measure = Measure.of(detector(rows))
    (record,) = measure.records([(np.zeros((32, 64, 3), np.uint8), truth)])
    assert not isinstance(record, InputError)
    assert record["scores"].tolist() == pytest.approx([0.9, 0.4])
    assert record["found"].tolist() == [0, 1]
    assert record["boxes"].all(1).tolist() == [False, True]
    assert record["confused"].tolist() == [[0, 1], [1, -1]]


def test_finished_graphs_keep_their_thresholds_and_that_is_told() -> None:
    spec = detector(np.zeros((1, 6))).spec
    output = OutputSpec(
        layout="detections", names=("boxes", "scores", "classes", "count"), conf=0.25, iou=0.5
    )
    from dataclasses import replace

    kept, notes = thresholds_of(replace(spec, output=output))
    assert (kept.conf, kept.iou) == (0.25, 0.5)
    assert any("lowers mAP" in note for note in notes)
    free, notes = thresholds_of(replace(spec, output=replace(output, runtime_thresholds=True)))
    assert (free.conf, free.iou) == (0.001, 0.7)
    assert not any("lowers mAP" in note for note in notes)
    assert thresholds_of(replace(spec, task="obb"))[0].conf == 0.01
