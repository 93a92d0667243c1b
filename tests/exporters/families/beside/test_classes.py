"""Names of classes that training code left in a file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from training_files import built_with, vit


@pytest.mark.parametrize(
    "told",
    [
        {"class_to_idx": {"d": 3, "a": 0, "c": 2, "b": 1, "e": 4}},
        {"idx_to_class": {4: "e", 0: "a", 1: "b", 2: "c", 3: "d"}},
        {"classes": ["a", "b", "c", "d", "e"], "class_to_idx": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}},
        {"hyper_parameters": {"class_names": ("a", "b", "c", "d", "e"), "labels": [1, 2]}},
        {"cfg": Namespace(names={0: "a", 1: "b", 2: "c", 3: "d", 4: "e"})},
    ],
    ids=str,
)
def test_names_of_classes_are_taken(tmp_path: Path, told: dict[str, Any]) -> None:
    built = built_with(vit(), told, tmp_path)
    assert built.spec.classes == ("a", "b", "c", "d", "e")
    assert any(one.treatment == "honoured" for one in built.settings)
    assert built_with(vit(), told, tmp_path, labels=tuple("vwxyz")).spec.classes == tuple("vwxyz")


def test_imagenets_names_give_way_to_those_of_the_file(tmp_path: Path) -> None:
    names = [f"thing {index}" for index in range(1000)]
    spec = built_with(vit(num_classes=1000), {"classes": names}, tmp_path).spec
    assert spec.classes == tuple(names)
    assert not any("ImageNet-1k" in line for line in spec.assumed)


@pytest.mark.parametrize(
    "told",
    [
        {"classes": ["a", "b", "c", "d", "e"], "class_to_idx": {"b": 0, "a": 1, "c": 2, "d": 3, "e": 4}},
        {"classes": ["a", "b"]},
        {"classes": 5, "class_to_idx": {"a": 0, "b": 0, "c": 2, "d": 3, "e": 4}},
    ],
    ids=str,
)
def test_names_that_contradict_each_other_or_do_not_fit_are_not_taken(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    assert built_with(vit(), told, tmp_path).spec.classes == ()


@pytest.mark.parametrize(
    "told", [{"multi_label": True}, {"multilabel": True}, {"problem_type": "multi_label_classification"}]
)
def test_classes_of_which_an_image_has_several_are_scored_apart(tmp_path: Path, told: dict[str, Any]) -> None:
    built = built_with(vit(), {"hparams": told}, tmp_path)
    assert built.spec.output.activation == "sigmoid"
    assert not any("not known" in note for note in built.notes)
    name = next(iter(told))
    ignored = built_with(vit(), {"hparams": told}, tmp_path, ignore=(f"hparams:{name}",))
    assert ignored.spec.output.activation == "softmax"


def test_names_of_classes_are_no_settings(tmp_path: Path) -> None:
    told = {"class_to_idx": {"bgr": 0, "num_heads": 1, "pooling": 2}, "id2label": {"act": "relu"}}
    assert built_with(vit(), told, tmp_path).spec.num_classes == 5
