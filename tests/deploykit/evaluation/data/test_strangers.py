"""Files of labels that were made to fill the memory, to take for ever, or to end in a traceback."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.errors import DeploykitError, InputError
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from spec_of_task import spec_of_task

from deploykit.evaluation.data.coco_checks import check_annotation
from deploykit.evaluation.data.labels import LabelForm, read_label_file
from deploykit.evaluation.data.read import read_dataset
from deploykit.evaluation.data.strangers import is_exact, nearest
from deploykit.evaluation.data.truth import Objects

CLASSES = ("a", "b", "c")
PRIME = (1 << 61) - 1
"""Whole numbers that differ by it have one hash."""
IMAGE = {"id": 1, "file_name": "a.png", "width": 64, "height": 64}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 0, "bbox": [1, 1, 20, 20]}
NANS = ".nan," * 4


model = partial(spec_of_task, classes=CLASSES)


def coco(**parts: Any) -> dict[str, Any]:
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    return {"images": [IMAGE], "annotations": [], "categories": categories, **parts}


def image(**changes: Any) -> dict[str, Any]:
    return coco(images=[IMAGE, {**IMAGE, "id": 2, **changes}])


def marked(**changes: Any) -> dict[str, Any]:
    return coco(annotations=[{**ANNOTATION, **changes}])


def masked(segmentation: Any) -> dict[str, Any]:
    return marked(segmentation=segmentation)


def runs(counts: Any) -> dict[str, Any]:
    return masked({"size": [64, 64], "counts": counts})


COCO: dict[str, dict[str, Any]] = {
    "many categories": coco(categories=[{"id": n, "name": str(n)} for n in range(40_000)]),
    "categories of one name": coco(categories=[{"id": n, "name": "a"} for n in range(40_000)]),
    "categories of one hash": coco(categories=[{"id": n * PRIME, "name": str(n)} for n in range(1, 20_000)]),
    "a long name": coco(categories=[{"id": 0, "name": "ab" * 500_000}]),
    "a category of infinity": coco(categories=[{"id": -np.inf, "name": "a"}, {"id": np.inf, "name": "b"}]),
    "categories between numbers": coco(categories=[{"id": 0.5, "name": "a"}, {"id": 0.7, "name": "b"}]),
    "pictures of one hash": coco(images=[{**IMAGE, "id": 1 + n * PRIME} for n in range(1, 15_000)]),
    "a huge side": image(width=10**4000),
    "a side of a gigapixel": image(width=10**9, height=10**9),
    "a name with a zero": image(file_name="a\0b.png"),
    "a name that is not text": image(file_name="\ud800.png"),
    "a name of a million letters": image(file_name="a" * 1_000_000),
    "a first name with a zero": coco(images=[{**IMAGE, "file_name": "a\0b.png"}]),
    "a first name of a million letters": coco(images=[{**IMAGE, "file_name": "a" * 1_000_000}]),
    "a huge coordinate": marked(bbox=[10**400, 0, 1, 1]),
    "a coordinate of 1e308": marked(bbox=[1e308, 1e308, 1e308, 1e308]),
    "a crowd in words": marked(iscrowd="x"),
    "a count in words": marked(num_keypoints="x"),
}
MASKS = {
    "an outline of gigapixels": masked([[0, 0, 1e9, 0, 1e9, 1e9]]),
    "an outline from gigapixels": masked([[-1e9, -1e9, 1e9, 0, 1e9, 1e9]]),
    "an outline of 1e300": masked([[0, 0, 1e300, 0, 1e300, 1e300]]),
    "an outline to and fro": masked([[0, 0, 63, 63] * 60_000]),
    "runs beyond the picture": runs([0, 100_000_000]),
    "runs below zero": runs([-5, 10_000]),
    "runs of fractions": runs([1.5, 2]),
    "runs of truths": runs([True, False]),
    "no runs": masked({"size": [64, 64]}),
    "runs in an object": runs({}),
    "packed runs without end": runs("P" * 1000),
    "packed runs of other letters": runs("\u00ff\x00\U0001f600"),
    "packed runs beyond the picture": runs("o" * 12 + "0"),
}
YAML = {
    "a trillion classes": "val: images\nnc: 1000000000000\n",
    "classes below zero": "val: images\nnc: -5\n",
    "many folders": f"val: [{','.join(['images'] * 50_000)}]\nnames: [a, b, c]\n",
    "an endless device": "val: /dev/zero\nnames: [a, b, c]\n",
    "a pipe": "val: pipe\nnames: [a, b, c]\n",
    "a long folder": f"val: {'a' * 5000}\nnames: [a, b, c]\n",
    "a long path": f"path: {'a' * 300_000}\nval: images\nnames: [a, b, c]\n",
    "a folder with a zero": 'val: "a\\0b"\nnames: [a, b, c]\n',
    "sigmas": "val: images\nnames: [a, b, c]\nkpt_shape: [4, 3]\nkpt_oks_sigmas: 5\n",
    "sigmas in words": "val: images\nnames: [a, b, c]\nkpt_shape: [4, 3]\nkpt_oks_sigmas: [x, x, x, x]\n",
    "sigmas of nothing": f"val: images\nnames: [a, b, c]\nkpt_shape: [4, 3]\nkpt_oks_sigmas: [{NANS}]\n",
}
LISTS = {
    "a long class": b"a.png," + b"x" * 900_000,
    "a class of digits": b"a.png," + b"1" * 5000,
    "a quote that never ends": b'a.png,"' + b"x" * 200_000,
    "a zero": b"a\0.png,a\n",
    "a long picture": b"a" * 100_000 + b".png,a\n",
    "not text": b"\xff\xfe\x00\xd8",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in (tmp_path, tmp_path / "images"):
        place.mkdir(exist_ok=True)
        Image.new("RGB", (64, 64)).save(place / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def refused(read: Callable[[], object]) -> DeploykitError:
    """The error that it ends in, within the budget of a small file."""
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(DeploykitError) as caught:
        read()
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200 << 10
    assert caught.value.exit_code in (2, 8)
    return caught.value


@pytest.mark.parametrize("name", COCO | MASKS)
def test_json_of_strangers_is_refused(name: str, folder: Path) -> None:
    path = folder / "val.json"
    path.write_text(json.dumps((COCO | MASKS)[name]))
    error = refused(lambda: read_dataset(path, model("segment" if name in MASKS else "detect")))
    assert "val.json" in str(error)


@pytest.mark.parametrize("name", YAML)
def test_settings_of_strangers_are_refused(name: str, folder: Path) -> None:
    path = folder / "data.yaml"
    path.write_text(YAML[name])
    refused(lambda: read_dataset(path, model("pose" if "sigmas" in name else "detect")))


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_strangers_are_refused(name: str, folder: Path) -> None:
    path = folder / "list.csv"
    path.write_bytes(LISTS[name])
    refused(lambda: read_dataset(path, model("classify")))


def test_labels_of_one_picture_are_limited(tmp_path: Path) -> None:
    form, path = LabelForm(task="segment", classes={0: 0}), tmp_path / "a.txt"
    path.write_text("0 .1 .1 .9 .1 .9 .9\n" * 10_001)
    assert "10000 objects" in str(refused(lambda: read_label_file(path, form)))
    with path.open("wb") as file:
        file.truncate(20 << 20)
    assert "16 MB" in str(refused(lambda: read_label_file(path, form)))


def test_annotations_of_one_hash_cost_what_others_do(folder: Path) -> None:
    path = folder / "val.json"
    path.write_text(json.dumps(coco(annotations=[{**ANNOTATION, "id": n * PRIME} for n in range(1, 14_000)])))
    started = time.process_time()
    found = read_dataset(path, model("detect"))
    assert time.process_time() - started < 5
    [sample] = found.samples
    assert isinstance(sample.truth, Objects)
    assert len(sample.truth) == 13_999
    assert any("numbered anew" in note for note in found.notes)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=5, max_size=5))
def test_masks_that_coco_packs_are_taken(rows: list[list[bool]]) -> None:
    mask = pytest.importorskip("faster_coco_eval").mask
    packed = mask.encode(np.asfortranarray(rows, np.uint8))
    outline = {"size": [5, 6], "counts": packed["counts"].decode()}
    check_annotation({**ANNOTATION, "segmentation": outline}, {"width": 6, "height": 5}, "segment", "It")
    with pytest.raises(InputError, match="runs"):
        check_annotation(
            {**ANNOTATION, "segmentation": {**outline, "size": [4, 6]}},
            {"width": 6, "height": 4},
            "segment",
            "It",
        )


@pytest.mark.parametrize("value", [0, 1, -7, 1.0, (1 << 60) - 1])
def test_ids_are_whole_numbers(value: float) -> None:
    assert is_exact(value)


@pytest.mark.parametrize("value", [True, 0.5, np.nan, np.inf, 1 << 60, 10**4000, "1", None, [1]])
def test_what_is_no_id(value: object) -> None:
    assert not is_exact(value)


def test_a_guess_is_not_searched_among_what_cannot_be_meant() -> None:
    assert nearest("catt", ["dog", "cat", "c" * 1_000_000]) == "cat"
    assert nearest("c" * 1_000_000, ["cat"]) == ""
    assert nearest("cat", ["cat"] * 30_000) == ""
