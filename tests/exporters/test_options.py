"""The files that options name: class names and training configurations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deploykit_exporters.options import ExportOptions, hints_of, read_config, read_labels
from deploykit_runtimes.errors import OptionError


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


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


def test_a_file_or_the_names_themselves(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "cat\ndog")
    for labels in (path, str(path), ["cat", "dog"], ("cat", "dog")):
        assert hints_of(ExportOptions(labels=labels)).labels == ("cat", "dog")


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.yaml", "a: [1"), ("a.json", "[1, 2]")])
def test_configurations_that_cannot_be_read(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--config"):
        read_config(written(tmp_path, name, text))
    with pytest.raises(OptionError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
