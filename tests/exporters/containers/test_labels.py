"""Class names in every form that training codes and data sets have them."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest
from deploykit_exporters.containers.labels import names_from, read_labels
from deploykit_runtimes.errors import OptionError
from hypothesis import given
from hypothesis import strategies as st


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "cat\n\n  dog \n"),
        ("a.names", "cat\ndog"),
        ("a.json", '["cat", "dog"]'),
        ("a.json", '{"0": "cat", "1": "dog"}'),
        ("a.json", '{"1": "dog", "0": "cat"}'),
        ("class_to_idx.json", '{"dog": 1, "cat": 0}'),
        ("data.yaml", "names: [cat, dog]\nnc: 2"),
        ("data.yml", "names:\n  0: cat\n  1: dog\n"),
    ],
)
def test_every_form_of_class_names(name: str, text: str, tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, name, text)) == ("cat", "dog")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"cat": "feline", "dog": "canine"}, "from class index to name, or from name to index"),
        ({"0": "cat", "2": "dog"}, "indices 0 to 1, found 0, 2"),
        ({"cat": 0, "dog": 0}, "one index to several classes"),
        ({}, "found none"),
        ("cat", "found none"),
    ],
)
def test_names_that_cannot_be_read(value: object, problem: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=problem) as caught:
        read_labels(written(tmp_path, "a.json", json.dumps(value)))
    if problem.startswith("from"):
        assert '{"0": "cat", "1": "dog"}' in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.json", '["cat", NaN]', "nan"),
        ("a.json", '["cat", -Infinity]', "-inf"),
        ("a.json", '{"0": "cat", "1": 1e999}', "inf"),
        ("a.json", '["cat", null]', "None"),
        ("a.json", '["cat", ["dog"]]', "dog"),
        ("a.json", '[{"id": 0, "name": NaN}]', "nan"),
        ("a.json", '{"names": [["n01440764", NaN]]}', "nan"),
        ("a.json", '["cat", true]', "True"),
        ("a.yaml", "[cat, .nan]", "nan"),
        ("a.yaml", "names: {0: cat, 1: -.inf}", "-inf"),
        ("a.yaml", ".nan: 0", "nan"),
        ("a.yaml", "[cat, ~]", "None"),
    ],
)
def test_what_is_no_name_is_refused(name: str, text: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=found):
        read_labels(written(tmp_path, name, text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", codecs.BOM_UTF8 + b"cat\r\ndog\r\n"),
        ("a.json", codecs.BOM_UTF8 + b'["cat", "dog"]'),
        ("a.txt", "cat\ndog\n".encode("utf-16")),
        ("a.txt", "0 cat\n1 dog"),
        ("a.txt", "1: dog\n0: cat"),
        ("a.txt", "0\tcat\n1\tdog"),
        ("a.txt", "0. cat\n1. dog"),
        ("a.txt", "0) cat\n1) dog"),
        ("clsidx_to_labels.txt", "{0: 'cat',\n 1: 'dog'}"),
        ("a.txt", "['cat', 'dog']"),
        ("a.names", '["cat", "dog"]'),
        ("a.csv", "0,cat\n1,dog"),
        ("a.csv", "cat,0\ndog,1\n"),
        ("a.csv", "id,name\n0,cat\n1,dog\n"),
        ("a.csv", "name;id\ndog;1\ncat;0\n"),
        ("a.csv", '0,"cat"\n1,"dog"'),
        ("a.txt", "n02123045 cat\nn02084071 dog"),
        ("imagenet_class_index.json", '{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"]}'),
        ("config.json", '{"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}}'),
        ("instances.json", '{"categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}]}'),
        ("config.json", '{"label_names": ["cat", "dog"]}'),
        ("map.pbtxt", "item {\n  id: 2\n  name: 'dog'\n}\nitem {\n  id: 1\n  name: 'cat'\n}\n"),
        ("map.pbtxt", 'item { name: "/m/01" id: 1 display_name: "cat" } item { id: 2 name: "dog" }'),
    ],
)
def test_forms_of_training_codes_and_data_sets(name: str, text: str | bytes, tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, name, text)) == ("cat", "dog")


@pytest.mark.parametrize(
    "names",
    [
        ["3d printer", "7-eleven"],
        ["tench, Tinca tinca", "plane, carpenter's plane"],
        ["0", "1", "2"],
        ["Boeing 747", "Airbus"],
        ["AK 47", "colt 45", "glock"],
        ["n0", "n1"],
    ],
)
def test_names_with_numbers_and_commas_stay_whole(names: list[str], tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, "a.txt", "\n".join(names))) == tuple(names)


@pytest.mark.parametrize("text", ["1 cat\n2 dog", "5,cat\n9,dog", "0 cat\n0 dog", "Boeing 747\nAirbus 320"])
def test_numbers_that_may_be_indices_are_not_guessed_about(text: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="may be an index or a part of the name"):
        read_labels(written(tmp_path, "a.txt", text))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", '[{"id": 1}]', "an id and a name"),
        ("a.json", '["cat", ["a", "b"]]', "wants names"),
        ("a.json", '["cat", null]', "wants names"),
        ("a.json", "[" * 100_000, "cannot be parsed"),
        ("a.txt", b"\xff\x00\x80", "not text in UTF-8"),
        ("a.txt", b"a" * (17 << 20), "more than 16 MB"),
        ("a.txt", b"a " * 500_000, "more than 1000 characters"),
        (
            "map.pbtxt",
            "item { id: 1 name: 'a' } item { id: 3 name: 'b' }",
            "ids 1 to 2 in a .pbtxt file, found 1, 3",
        ),
    ],
)
def test_files_that_are_refused(name: str, text: str | bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=problem):
        read_labels(written(tmp_path, name, text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_gives_names_or_is_refused(value: object) -> None:
    try:
        names = names_from(value)
    except OptionError as error:
        assert len(error.problem) < 500
        return
    assert all(isinstance(name, str) for name in names)


@given(st.lists(st.text(st.characters(codec="ascii", categories=("L",)), min_size=1), min_size=1, max_size=6))
def test_an_index_before_or_behind_every_name_is_understood(names: list[str]) -> None:
    from deploykit_exporters.containers.labels import _from_lines

    assert _from_lines(names) == tuple(names)
    assert _from_lines([f"{index} {name}" for index, name in enumerate(names)]) == tuple(names)
    assert _from_lines([f"{name},{index}" for index, name in enumerate(names)]) == tuple(names)
    assert json.loads(json.dumps(names)) == names


def test_names_that_yaml_takes_for_yes_and_no_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="yes, no, on and off are not text in YAML"):
        read_labels(written(tmp_path, "data.yaml", "names: [cat, no]"))
    assert read_labels(written(tmp_path, "data.yaml", 'names: [cat, "no"]')) == ("cat", "no")
