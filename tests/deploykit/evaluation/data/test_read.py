"""Labels of every form, and every contradiction between them and the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.errors import InputError, OptionError
from PIL import Image
from spec_of_task import DIGITS as CLASSES
from spec_of_task import spec_of_task as model

from deploykit.evaluation.data.read import read_dataset
from deploykit.evaluation.data.truth import Objects


def test_class_folders_go_by_name(digits: Path) -> None:
    found = read_dataset(digits, model("classify", CLASSES[::-1]))
    assert len(found.samples) == 60
    for sample in found.samples:
        assert sample.truth == 9 - int(sample.path.parent.name)


def test_a_folder_of_splits_gives_its_val(digits: Path) -> None:
    found = read_dataset(digits.parent, model("classify"))
    assert {sample.path.parent.parent.name for sample in found.samples} == {"val"}
    assert len(read_dataset(digits.parent, model("classify"), split="train").samples) == 60


def test_models_without_names_take_the_folders_in_order(digits: Path) -> None:
    found = read_dataset(digits, model("classify", (), 10))
    assert {int(sample.path.parent.name) == sample.truth for sample in found.samples} == {True}
    assert any("sorted order" in note for note in found.notes)


def test_an_order_that_is_not_clear_is_refused(tmp_path: Path) -> None:
    for name in ("1", "2", "10"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "a.png")
    with pytest.raises(OptionError, match="sorted in two ways"):
        read_dataset(tmp_path, model("classify", (), 3))


def test_an_extra_class_is_named(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "val")
    shutil.copytree(digits / "3", tmp_path / "val" / "threes")
    with pytest.raises(OptionError, match=r"'threes'.*does not have") as told:
        read_dataset(tmp_path / "val", model("classify"))
    assert "--labels" in told.value.hint


@pytest.mark.parametrize("name", ["list.csv", "list.txt", "list.tsv"])
def test_lists_of_classes(digits: Path, name: str) -> None:
    mark = {".csv": ",", ".txt": " ", ".tsv": "\t"}[Path(name).suffix]
    paths = sorted(digits.rglob("*.png"))[:9]
    lines = [f"{path.relative_to(digits)}{mark}{path.parent.name}" for path in paths]
    lines = ([f"image{mark}label", *lines]) if name == "list.csv" else lines
    (digits / name).write_text("\n".join(lines))
    found = read_dataset(digits / name, model("classify"))
    (digits / name).unlink()
    assert [sample.truth for sample in found.samples] == [int(path.parent.name) for path in paths]
    assert all(sample.path.is_file() for sample in found.samples)


def test_lists_with_a_line_or_class_too_much(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1.png,cat\n2.png,\n")
    with pytest.raises(InputError, match="has no class"):
        read_dataset(tmp_path / "a.csv", model("classify", ("cat", "dog")))
    (tmp_path / "b.csv").write_text("1.png,1\n2.png,2\n")
    with pytest.raises(OptionError, match="class 2, the model has classes 0 to 1") as told:
        read_dataset(tmp_path / "b.csv", model("classify", ("cat", "dog")))
    assert "counted from 0" in told.value.hint


def test_labels_of_ultralytics(scenes: Callable[[str], Path]) -> None:
    found = read_dataset(scenes("detect"), model("detect"))
    assert (found.protocol, len(found.samples)) == ("ultralytics", 16)
    for sample in found.samples:
        assert isinstance(sample.truth, Objects)
        lines = (
            (scenes("detect").parent / "labels" / "val" / f"{sample.path.stem}.txt").read_text().split("\n")
        )
        assert len(sample.truth) == len([line for line in lines if line])
        assert (sample.truth.boxes[:, 2:] > sample.truth.boxes[:, :2]).all()


def test_coco_tells_the_same_as_the_labels(scenes: Callable[[str], Path]) -> None:
    for task, names in (
        ("detect", CLASSES),
        ("segment", ("disc", "square", "triangle")),
        ("pose", ("arrow",)),
    ):
        spec = model(task, names)  # type: ignore[arg-type]
        labels = read_dataset(scenes(task), spec)
        coco = read_dataset(scenes(task).parent / "val.json", spec)
        for one, other in zip(labels.samples, coco.samples, strict=True):
            assert isinstance(one.truth, Objects)
            assert isinstance(other.truth, Objects)
            assert one.path.resolve() == other.path.resolve()
            assert np.array_equal(one.truth.class_ids, other.truth.class_ids)
            assert one.truth.boxes == pytest.approx(other.truth.boxes, abs=1e-5)
            if task == "pose":
                assert one.truth.keypoints == pytest.approx(other.truth.keypoints, abs=1e-5)


def test_classes_in_another_order_are_refused_or_sorted_by_name(scenes: Callable[[str], Path]) -> None:
    turned = model("segment", ("square", "disc", "triangle"))
    with pytest.raises(OptionError, match="calls class 0 'disc', the model calls it 'square'") as told:
        read_dataset(scenes("segment"), turned)
    assert "same names in another order" in told.value.problem
    by_name = read_dataset(scenes("segment"), turned, matching="names")
    trusted = read_dataset(scenes("segment"), turned, matching="order")
    for one, other in zip(by_name.samples, trusted.samples, strict=True):
        assert isinstance(one.truth, Objects)
        assert isinstance(other.truth, Objects)
        assert [
            {0: 1, 1: 0}.get(n, n) for n in one.truth.class_ids.tolist()
        ] == other.truth.class_ids.tolist()


def test_another_number_of_classes_is_refused(scenes: Callable[[str], Path]) -> None:
    with pytest.raises(OptionError, match="has 3 classes, the model has 4: only the model has 'star'"):
        read_dataset(scenes("segment"), model("segment", ("disc", "square", "triangle", "star")))


@pytest.fixture
def copied(scenes: Callable[[str], Path], tmp_path: Path) -> Path:
    """A data set to damage."""
    return Path(shutil.copytree(scenes("detect").parent, tmp_path / "detect")) / "data.yaml"


def test_a_missing_label_file_is_told_or_taken_as_empty(copied: Path) -> None:
    (copied.parent / "labels" / "val" / "0003.txt").unlink()
    with pytest.raises(InputError, match=r"1 of 16 pictures have no label file.*0003\.txt") as told:
        read_dataset(copied, model("detect"))
    assert "--unlabelled" in told.value.hint
    found = read_dataset(copied, model("detect"), unlabelled=True)
    assert len(found.samples[3].truth) == 0  # type: ignore[arg-type]
    shutil.rmtree(copied.parent / "labels")
    with pytest.raises(InputError, match="16 of 16 pictures"):
        read_dataset(copied, model("detect"), unlabelled=True)


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("11 0.5 0.5 0.1 0.1", OptionError, "has class 11, and the data set has 10"),
        ("1.5 0.5 0.5 0.1 0.1", OptionError, "has class 1.5"),
        ("1 80 80 20 20", InputError, "coordinates in 0..1"),
        ("1 nan 0.5 0.1 0.1", InputError, "coordinates in 0..1"),
        ("1 0.5 0.5 0.1", InputError, "Wanted 5 values for object 1"),
        ("one 0.5 0.5 0.1 0.1", InputError, "cannot be read"),
    ],
)
def test_a_wrong_label_is_told_with_its_place(
    copied: Path, line: str, kind: type[Exception], said: str
) -> None:
    (copied.parent / "labels" / "val" / "0002.txt").write_text(line)
    with pytest.raises(kind, match=said) as told:
        read_dataset(copied, model("detect"))
    assert "0002.txt" in str(told.value)


def test_keypoints_in_pixels_are_refused(scenes: Callable[[str], Path], tmp_path: Path) -> None:
    data = Path(shutil.copytree(scenes("pose").parent, tmp_path / "pose")) / "data.yaml"
    (data.parent / "labels" / "val" / "0002.txt").write_text("0 0.5 0.5 0.1 0.1" + " 80 60 2" * 4)
    with pytest.raises(InputError, match=r"coordinates in 0..1 for object 1 of .*0002\.txt"):
        read_dataset(data, model("pose", ("arrow",)))


def test_a_list_of_pictures_leaves_none_out(scenes: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(scenes("detect").parent, tmp_path / "detect"))
    (folder / "val.txt").write_text("images/val/0000.png\nimages/val/0001.unknown\n")
    found = read_dataset(folder / "val.txt", model("detect"))
    assert [sample.path.name for sample in found.samples] == ["0000.png", "0001.unknown"]


def test_a_label_that_stands_twice_counts_once(copied: Path) -> None:
    (copied.parent / "labels" / "val" / "0002.txt").write_text("1 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n")
    found = read_dataset(copied, model("detect"))
    assert len(found.samples[2].truth) == 1  # type: ignore[arg-type]
    assert any("twice" in note for note in found.notes)


def test_coco_with_a_category_that_the_model_lacks(copied: Path) -> None:
    path = copied.parent / "val.json"
    content = json.loads(path.read_text())
    content["categories"][4]["name"] = "four"
    path.write_text(json.dumps(content))
    with pytest.raises(OptionError, match="'four', which the model does not have"):
        read_dataset(path, model("detect"))
    content["categories"][4]["name"] = "4"
    content["annotations"][0]["category_id"] = 99
    path.write_text(json.dumps(content))
    with pytest.raises(OptionError, match=r"has category 99, and the categories are [\d, ]+ and 2 more\."):
        read_dataset(path, model("detect"))
    content["annotations"][0]["category_id"] = "1"  # text, where the categories have numbers
    path.write_text(json.dumps(content))
    with pytest.raises(OptionError, match="has category '1', and"):
        read_dataset(path, model("detect"))
    del content["annotations"][0]["category_id"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged"):
        read_dataset(path, model("detect"))


def test_data_of_another_task_is_refused(scenes: Callable[[str], Path], digits: Path) -> None:
    with pytest.raises(OptionError, match="the model's task is detect"):
        read_dataset(digits, model("detect"))
    with pytest.raises(InputError, match="hold boxes"):
        read_dataset(scenes("detect"), model("segment"))
    with pytest.raises(OptionError, match="feature maps"):
        read_dataset(digits, replace(model("classify"), task="features"))
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(digits / "nothing", model("classify"))


def test_a_limit_draws_the_same_pictures_for_a_seed(digits: Path) -> None:
    found = read_dataset(digits, model("classify"))
    assert found.limited(20, 1) == found.limited(20, 1)
    assert found.limited(20, 1) != found.limited(20, 2)
    assert found.limited(100, 1) is found
    assert found.limited(20, 1).digest() != found.digest()
