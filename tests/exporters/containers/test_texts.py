"""Settings as text: what honest files hold is read, and no text takes more than seconds or megabytes."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploykit_exporters.containers.labels import read_labels
from deploykit_exporters.containers.texts import parse_json, parse_python, parse_yaml
from deploykit_exporters.families.shared.mm.config import parse_config
from deploykit_exporters.families.yolo.yolox.experiment import _literals
from deploykit_runtimes.errors import DeploykitError, OptionError
from hypothesis import given
from hypothesis import strategies as st

PRIME = (1 << 61) - 1  # the hash of each of its multiples is 0
ALIKE = ", ".join(f"{PRIME * index}: 0" for index in range(1, 30_000))

YAML = {
    "laughs": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 10)}]\n" for n in range(9)),
    "many values": "[" + "1," * 500_000 + "1]",
    "keys alike": "{" + ALIKE + "}",
    "keys of lists": "? [a, b]\n: 1\n",
    "digits": "a: " + "9" * 5000,
    "base 60": "a: " + "59:" * 100_000 + "0",
    "levels": "[" * 5000 + "]" * 5000,
    "itself": "&a [" + "*a, " * 50 + "*a]",
    "tags": "!!python/object/apply:os.system ['true']",
}

PYTHON = {
    "shared": "a = ['xxxxxxxxxx']\n"
    + "".join(f"a{n} = [{', '.join([f'a{n - 1}' if n else 'a'] * 10)}]\n" for n in range(9)),
    "nested keys": "a = (1, 1)\n" + "a = (a, a)\n" * 60 + "b = {a: 1}\n",
    "keys alike": "a = {" + ALIKE + "}\n",
    "brackets": "a = " + "(" * 90 + ")" * 90 + "(" * 100_000,
    "minus": "a = " + "-" * 200_000 + "1",
    "values": "a = [" + "1," * 400_000 + "]",
    "digits": "a = " + "9" * 5000,
    "zero": "a = 1\0",
}


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))


def used(work: Callable[[], object]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10


def refusing(read: Callable[[str], Any], text: str, errors: Any) -> Callable[[], object]:
    def work() -> None:
        with pytest.raises(errors):
            read(text)

    return work


@pytest.mark.parametrize("name", YAML)
def test_yaml_beyond_settings_is_refused(name: str) -> None:
    assert used(refusing(parse_yaml, YAML[name], ValueError)) < 200


@pytest.mark.parametrize("name", PYTHON)
def test_python_beyond_settings_is_refused(name: str) -> None:
    assert used(refusing(parse_config, PYTHON[name], DeploykitError)) < 200


@pytest.mark.parametrize("name", ["keys alike", "brackets", "minus", "values"])
def test_experiments_beyond_settings_are_refused(name: str) -> None:
    def read(text: str) -> Any:
        return _literals(text.replace("a =", "self.a =", 1))

    assert used(refusing(read, PYTHON[name], DeploykitError)) < 200


def test_json_beyond_settings_is_refused() -> None:
    for text in ("[" * 200_000, '{"a": ' + "9" * 5000 + "}", "{"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_halves_of_characters_are_replaced() -> None:
    assert parse_json(r'{"a\ud800": ["\udfff", "\ud83d\ude00"]}') == {"a?": ["?", "\U0001f600"]}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | TEXTS,
        lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
        max_leaves=20,
    )
)
def test_plain_values_survive(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value
    assert parse_json(json.dumps(value)) == value
    tree = parse_python(f"a = {value!r}")
    assert len(tree.body) == 1


def test_anchors_and_merges_of_honest_files_are_read() -> None:
    text = "base: &base {epochs: 3, names: [a, b]}\nrun: {<<: *base, epochs: 4}\nsame: *base\n"
    assert parse_yaml(text) == yaml.safe_load(text)


def test_merges_of_merges_end() -> None:
    """PyYAML 6.0.3 takes each pair once; those before it ten times at each level, which is refused."""
    text = "a: &a {x: 1}\n" + "".join(
        f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}' if n else '*a'] * 10)}], k{n}: 1}}\n" for n in range(9)
    )

    def work() -> None:
        try:
            assert len(parse_yaml(text)["b8"]) == 10
        except ValueError as error:
            assert "merge" in str(error)

    assert used(work) < 200


@pytest.mark.parametrize(
    "line",
    ["a" + " " * 997 + "b", "1" * 999, "1" + " " * 997 + "b", "item{" * 199, ", " * 499, "a ;" * 333],
)
def test_label_files_take_time_in_proportion(line: str, tmp_path: Path) -> None:
    """A thousand lines of each; a pattern that tries every division of the blanks would take minutes."""
    for suffix in (".txt", ".pbtxt", ".csv"):
        path = tmp_path / f"labels{suffix}"
        path.write_text(f"{line}\n" * 1000)
        try:
            assert len(read_labels(path)) <= 1000
        except DeploykitError:
            continue


@pytest.mark.parametrize("tag", ["int", "float", "bool", "timestamp", "binary", "set", "omap", "null"])
@pytest.mark.parametrize(
    "value", ["''", "_", "'-'", "x", "[]", "{}", "1:" * 300 + "1.5", "2001-13-45", "1e999"]
)
def test_tags_that_lie_are_told(tag: str, value: str) -> None:
    """PyYAML fails in the ways of Python where the text is not of the type of its tag."""
    text = f"a: !!{tag} {value}"
    try:
        parse_yaml(text)
    except ValueError as error:
        assert str(error)


def test_integers_beyond_any_program_are_refused() -> None:
    with pytest.raises(OptionError, match="integer of 360000 bits"):
        parse_config(f"a = 0x{'f' * 90_000}")
