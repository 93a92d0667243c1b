"""Text of strangers: the golden vectors that C++ and JavaScript read too, and what holds for every text."""

from __future__ import annotations

import importlib.util
import json
import unicodedata
from pathlib import Path
from types import ModuleType

import pytest
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.text.printable import printable, printable_json, printable_lines
from hypothesis import given
from hypothesis import strategies as st

ODD = "\x1b\x07\n\r\t\x7f\x9b\u202e\u2066\u200b\u200d\ufe0f\u20e3\ud800\U000e0067\U000e007f\U0001f3f4é中1 "
texts = (
    st.text() | st.text(st.sampled_from(ODD)) | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Co"]))
)
VISIBLE_FORMATS = "\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Signs around numbers, which are seen although they count as formats; there are two ranges more."""


def _seen(letter: str) -> bool:
    code = ord(letter)
    return letter in VISIBLE_FORMATS or 0x600 <= code <= 0x605 or 0x13430 <= code <= 0x1343F


@pytest.fixture(scope="module")
def maker(golden: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_printable", golden / "make_printable.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_golden_vectors_are_those_of_this_rule(maker: ModuleType, golden: Path) -> None:
    written = (golden / "printable.txt").read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    blocks = [dict(line.split("\t", 1) for line in block.split("\n")) for block in written]
    assert blocks == maker.blocks()


def test_honest_text_stays_and_attacks_do_not(maker: ModuleType) -> None:
    for text in maker.HONEST:
        assert printable(text) == text
    for text in maker.ATTACKS:
        assert printable(text) != text


@pytest.mark.parametrize(
    "code", [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
def test_each_control_character_is_escaped_wherever_it_stands(code: int) -> None:
    for place in ("a{}b", "{}", "中{}中", "\U0001f468\u200d{}"):
        assert chr(code) not in printable(place.format(chr(code)))
        assert chr(code) not in printable_json(json.dumps(place.format(chr(code)), ensure_ascii=False))


@given(texts, st.integers(60, 300))
def test_what_is_printable_stays(text: str, most: int) -> None:
    shown = printable(text, most)
    assert len(shown) <= most
    assert printable(shown, most) == shown
    shown.encode("utf-8")
    for letter in shown:
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and not _seen(letter):
            assert letter in "\u200c\u200d" or 0xE0020 <= ord(letter) <= 0xE007F


# JSON has one form for a pair of surrogates, whether it is a character or not.
for_json = texts.map(lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"))


@given(st.recursive(for_json, lambda inner: st.lists(inner) | st.dictionaries(for_json, inner)))
def test_json_says_the_same(value: object) -> None:
    document = printable_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(document) == value
    assert all(printable(line) == line for line in document.split("\n") if len(line) < 300)
    document.encode("utf-8")


def test_a_long_text_tells_its_length() -> None:
    shown = printable("-" * 1_000_000, 200)
    assert len(shown) == 200
    assert " ... (1,000,000 characters) ... " in shown
    assert printable("a" * 200, 200) == "a" * 200


def test_line_ends_of_ours() -> None:
    assert printable_lines("a\x1b\n  b\r\nc") == "a\\x1b\n  b\\r\nc"


def test_no_error_can_forget_it() -> None:
    error = DeploykitError("no class \x1b[2J\nerror: forged", hint="say \u202e")
    assert error.problem == "no class \\x1b[2J\\nerror: forged"
    assert str(error) == "no class \\x1b[2J\\nerror: forged\n  say \\u202e"
    assert error.args == (error.problem,)
