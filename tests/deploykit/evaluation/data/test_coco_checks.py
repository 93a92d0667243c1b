"""COCO's JSON that contradicts itself: an error with its place, or numbers that are right all the same."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deploykit_runtimes.errors import InputError

import deploykit

Content = dict[str, Any]


@pytest.fixture(scope="session")
def file_of(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("coco")

    def make(task: str) -> Path:
        if task not in made:
            checkpoint, made[task] = fixtures / "trained" / f"{task}.pt", folder / f"{task}.onnx"
            deploykit.export(checkpoint, output=made[task], golden_cases=False, witness=False)
        return made[task]

    return make


@pytest.fixture
def measured(
    scenes: Callable[[str], Path], file_of: Callable[[str], Path], tmp_path: Path
) -> Callable[..., deploykit.EvalReport]:
    def evaluated(task: str, change: Callable[[Content], None]) -> deploykit.EvalReport:
        folder = scenes(task).parent
        content = copy.deepcopy(json.loads((folder / "val.json").read_text()))
        change(content)
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(content))
        return deploykit.evaluate(file_of(task), path, images=folder / "images" / "val")

    return evaluated


def of_each(kind: str, edit: Callable[[Content], Any]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for each in content[kind]:
            edit(each)

    return change


def _words_for_ids(content: Content) -> None:
    for image in content["images"]:
        image["id"] = f"picture {image['id']}"
    for each in content["annotations"]:
        each["image_id"] = f"picture {each['image_id']}"


SAME: dict[str, tuple[str, Callable[[Content], None], str]] = {
    "ids from 0": ("detect", of_each("annotations", lambda a: a.update(id=a["id"] - 1)), "numbered anew"),
    "one id for all": ("detect", of_each("annotations", lambda a: a.update(id=7)), "numbered anew"),
    "no ids": ("detect", of_each("annotations", lambda a: a.pop("id")), "numbered anew"),
    "no areas": ("detect", of_each("annotations", lambda a: a.pop("area")), "no area"),
    "words for ids": ("detect", _words_for_ids, ""),
    "keypoints not counted": ("pose", of_each("annotations", lambda a: a.pop("num_keypoints")), ""),
}


@pytest.mark.parametrize("name", SAME)
def test_what_can_be_told_is_filled_in(measured: Callable[..., Any], name: str) -> None:
    task, change, note = SAME[name]
    plain, found = measured(task, lambda _: None), measured(task, change)
    assert plain.models[0].map > 0.1
    for part, numbers in plain.models[0].scores["coco"].items():
        assert found.models[0].scores["coco"][part]["map"] == numbers["map"]
    assert any(note in each for each in found.notes) is bool(note)


def _first(kind: str, **values: Any) -> Callable[[Content], None]:
    return lambda content: content[kind][0].update(values)


WRONG: dict[str, tuple[str, Callable[[Content], None], str]] = {
    "a picture twice": (
        "detect",
        lambda c: c["images"].append(c["images"][0]),
        "the same id as one before it, 1",
    ),
    "no width": ("detect", _first("images", width=None), "has no width"),
    "a width of words": ("detect", _first("images", width="wide"), "wants a width and a height, found wide"),
    "a category twice": (
        "detect",
        lambda c: c["categories"].append({"id": 99, "name": "3"}),
        "Two categories .* have the name '3'",
    ),
    "a number twice": (
        "detect",
        lambda c: c["categories"].append({"id": 3, "name": "x"}),
        "Two categories .* have the id 3",
    ),
    "a side below 0": ("detect", _first("annotations", bbox=[1, 1, -5, 5]), "wants a bbox"),
    "a box of NaN": ("detect", _first("annotations", bbox=[1, float("nan"), 5, 5]), "wants a bbox"),
    "a box outside": ("detect", _first("annotations", bbox=[9999, 1, 5, 5]), "outside of its picture"),
    "three numbers": ("detect", _first("annotations", bbox=[1, 2, 3]), r"found \[1, 2, 3\]"),
    "an area below 0": ("detect", _first("annotations", area=-1), "wants an area"),
    "no area of a pose": ("pose", _first("annotations", area=None), "has no area"),
    "keypoints of NaN": ("pose", _first("annotations", keypoints=[float("nan")] * 12), "wants keypoints"),
    "a polygon of two points": (
        "segment",
        _first("annotations", segmentation=[[1, 2, 3, 4]]),
        "three points",
    ),
    "a mask of another size": (
        "segment",
        _first("annotations", segmentation={"size": [5, 5], "counts": [0, 25]}),
        r"a mask of \[5, 5\]",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_contradicts_itself_is_an_error(measured: Callable[..., Any], name: str) -> None:
    task, change, said = WRONG[name]
    with pytest.raises(InputError, match=said):
        measured(task, change)


def test_pictures_of_another_size_than_was_labelled_are_named(
    scenes: Callable[[str], Path], file_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """A picture that its EXIF orientation turns, with labels of it as it is stored."""
    from PIL import Image

    folder = Path(shutil.copytree(scenes("detect").parent, tmp_path / "detect"))
    first = sorted((folder / "images" / "val").iterdir())[0]
    turned = Image.Exif()
    turned[0x112] = 6
    with Image.open(first) as image:
        assert image.width != image.height
        image.save(first, exif=turned)
    report = deploykit.evaluate(file_of("detect"), folder / "val.json")
    (unread,) = report.models[0].unread
    assert unread.image == str(first)
    assert "its labels are of" in unread.problem
    assert "EXIF" in unread.hint
    assert report.models[0].scores["images"] == report.images - 1
