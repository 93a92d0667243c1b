"""Settings that were saved as a list, or as one line."""

from __future__ import annotations

import argparse
import json
from keyword import iskeyword
from pathlib import Path
from typing import Any

import pytest
from deploykit_exporters.families.beside.contents import contents
from deploykit_exporters.families.beside.lists import listed, one_line
from deploykit_runtimes.errors import CheckpointError
from hypothesis import given
from hypothesis import strategies as st
from training_files import built_with, vit

FORMS: dict[str, Any] = {
    "records": [{"name": "num_heads", "value": 4}, {"name": "lr", "value": 0.1}],
    "records of keys": [{"key": "num_heads", "val": 4}],
    "objects of one entry": [{"num_heads": 4}, {"lr": 0.1}],
    "assignments": ["num_heads=4", "lr=0.1"],
    "overrides of Hydra": ["++model.num_heads=4", "+lr=0.1", "~trainer=null"],
    "a command line": ["train.py", "--num-heads", "4", "--lr", "0.1"],
    "a command line with =": ["--num-heads=4", "--amp"],
    "pairs": [["num_heads", 4], ["lr", 0.1]],
    "tuples": (("num_heads", 4),),
    "a command": "python train.py --num-heads 4 --lr 0.1",
    "assignments in a line": "num_heads=4 lr=0.1",
    "entries in a line": "num_heads: 4, lr: 0.1",
    "one entry": "num_heads: 4",
    "TOML": "num_heads = 4\nlr = 0.1\n",
    "a Namespace": str(argparse.Namespace(num_heads=4, betas=(0.9, 0.99), path=Path("a"))),
    "a dictionary": str({"num_heads": 4, "lr": 0.1}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", ["args", "overrides"])
def test_settings_of_every_form_are_held_against_what_was_built(tmp_path: Path, form: str, key: str) -> None:
    told = {"hparams": {key: FORMS[form]}}
    with pytest.raises(CheckpointError, match=r"num_heads = 4 .*deploykit would build 2") as error:
        built_with(vit(), told, tmp_path)
    ignored = str(error.value.hint).rpartition("--ignore ")[2].strip("'")
    assert built_with(vit(), told, tmp_path, ignore=(ignored,)).spec.num_classes == 5
    assert built_with(vit(num_heads=4), told, tmp_path, config={"num_heads": 4}).spec.num_classes == 5


@pytest.mark.parametrize(
    "value",
    [
        ["cat", "dog"],
        [1, 2],
        [],
        [["cat", "dog", "bird"]],
        [{"a": 1, "b": 2}],
        "a sentence: about heads",
        "x",
        [None],
        ["a=b", 3],
    ],
    ids=str,
)
def test_other_lists_and_texts_are_none(value: Any) -> None:
    assert contents(value) is None or "about heads" in str(value)


_VALUES = st.one_of(
    st.integers(-99, 99), st.booleans(), st.floats(-9, 9), st.text("abcxyz", min_size=1, max_size=5)
)
_SETTINGS = st.dictionaries(
    st.from_regex(r"[a-z]{2,6}(_[a-z]{2,6})?", fullmatch=True).filter(lambda name: not iskeyword(name)),
    _VALUES,
    min_size=1,
    max_size=5,
)


@given(_SETTINGS)
def test_what_was_written_is_read(settings: dict[str, Any]) -> None:
    written = [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings.items()
    ]
    assert listed(written) == settings
    flags = [
        word
        for one in written
        for word in (f"--{one.partition('=')[0].replace('_', '-')}", one.partition("=")[2])
    ]
    assert listed(flags) == settings
    assert listed([[name, value] for name, value in settings.items()]) == settings
    assert one_line(str(argparse.Namespace(**settings))) == settings


@given(st.one_of(st.text(max_size=80), st.lists(st.one_of(st.text(max_size=12), st.integers(), st.none()))))
def test_anything_can_stand_there(value: Any) -> None:
    found = contents(value)
    assert found is None or len(found) > 0
