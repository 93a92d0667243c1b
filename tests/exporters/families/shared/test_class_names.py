"""The names of a model's classes."""

from __future__ import annotations

import pytest
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.shared.class_names import (
    ASSUMED_IMAGENET,
    class_names,
    given_or_listed,
)
from deploykit_exporters.families.shared.coco import COCO_NAMES
from deploykit_exporters.families.shared.imagenet import imagenet_class_names
from deploykit_runtimes.errors import OptionError
from hypothesis import given
from hypothesis import strategies as st


def test_coco_has_eighty_distinct_names() -> None:
    assert len(set(COCO_NAMES)) == len(COCO_NAMES) == 80


@given(names=st.lists(st.text(), max_size=5), count=st.integers(1, 5))
def test_names_are_taken_when_there_is_one_for_every_class(names: list[str], count: int) -> None:
    expected = tuple(names) if len(names) == count else ()
    assert given_or_listed(Hints(), names, count) == expected
    by_index = dict(reversed(list(enumerate(names))))
    assert given_or_listed(Hints(), by_index, count) == (tuple(names[:count]) if len(names) >= count else ())


@pytest.mark.parametrize("names", [None, "abc", 3, [1, None, 3], {0: "a", 2: "c", 3: "d"}, object()])
def test_names_of_another_kind_are_no_names(names: object) -> None:
    assert given_or_listed(Hints(), names, 3) == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"0": "a", "1": "b"}, ("a", "b")),
        ({1: "b", 0: "a"}, ("a", "b")),
        ({0: 0, 1: 1}, ("0", "1")),
        ([7, 8.5], ("7", "8.5")),
    ],
)
def test_text_as_keys_and_numbers_as_names(names: object, expected: tuple[str, ...]) -> None:
    assert given_or_listed(Hints(), names, 2) == expected


def test_labels_replace_names_and_must_be_complete() -> None:
    assert given_or_listed(Hints(labels=("x", "y")), ["a", "b"], 2) == ("x", "y")
    with pytest.raises(OptionError, match="gives 2 names, the model has 3 classes"):
        given_or_listed(Hints(labels=("x", "y")), None, 3)


def test_a_classifier_has_the_user_s_names_else_the_file_s() -> None:
    hints, found = Hints(labels=("x", "y")), ("a", "b")
    assert class_names(hints, found, 2) == (("x", "y"), ())
    assert class_names(Hints(), found, 2) == (found, ())
    with pytest.raises(OptionError, match="gives 2 names, the model has 3 classes"):
        class_names(hints, (), 3)
    names, assumed = class_names(Hints(), found, 3)
    assert names == ()
    assert assumed == ("The file names 2 classes, the model has 3: the names are left out.",)


@pytest.mark.parametrize("of_imagenet", [False, True])
def test_a_thousand_classes_are_imagenet_s(of_imagenet: bool) -> None:
    names, assumed = class_names(Hints(), (), 1000, of_imagenet=of_imagenet)
    assert names == imagenet_class_names()
    assert assumed == (() if of_imagenet else (ASSUMED_IMAGENET,))
