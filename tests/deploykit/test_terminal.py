"""Alignment, units and JSON."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit import terminal
from deploykit.terminal import (
    as_json,
    columns,
    dim,
    echo,
    good,
    pairs,
    paragraph,
    plain,
    seconds,
    size,
    strong,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(values)
def test_json_is_strict_whatever_is_in_it(value: object) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(as_json(value), parse_constant=refuse)


def test_json_of_arrays_paths_and_infinities() -> None:
    value = {1: np.float32(0.5), "a": np.arange(2), "p": Path("x"), "n": math.nan, "s": {3}}
    assert json.loads(as_json(value)) == {"1": 0.5, "a": [0, 1], "p": "x", "n": None, "s": [3]}


def test_pairs_align_and_leave_out_the_empty() -> None:
    lines = [plain(line) for line in pairs([("a", "1"), ("long", ["2", "3"]), ("none", ""), ("no", [])])]
    assert lines == ["  a     1", "  long  2", "        3"]


def test_columns_align() -> None:
    lines = [plain(line) for line in columns(("", "ms"), [("one", "1.25"), ("three", "10")])]
    assert lines == ["           ms", "  one    1.25", "  three    10"]


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (999, "999 B"), (18_600_000, "18.6 MB"), (2_500_000_000, "2.50 GB")]
)
def test_sizes(n: int, text: str) -> None:
    assert size(n) == text


def test_seconds() -> None:
    assert (seconds(0.0123), seconds(3.44)) == ("12 ms", "3.4 s")


def test_a_line_is_one_line_without_commands(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"{good('ok')} a\x1b[31m\nerror: forged", "next")
    echo(dim("told\r"), err=True)
    printed = capsys.readouterr()
    assert printed.out == "ok a\\x1b[31m\\nerror: forged\nnext\n"
    assert printed.err == "told\\r\n"


def test_only_our_colours_become_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    echo(f"{strong('a')} \x1b[32mpassed <0123456789abcdef:32>passed")
    assert capsys.readouterr().out == "\x1b[1ma\x1b[0m \\x1b[32mpassed <0123456789abcdef:32>passed\n"
    monkeypatch.setenv("NO_COLOR", "1")
    echo(strong("a"))
    assert capsys.readouterr().out == "a\n"


def test_the_marks_of_colours_differ_in_each_process() -> None:
    code = "from deploykit.terminal import strong; print(strong('a'))"
    marks = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)
    }
    assert len(marks) == 2


def test_a_stream_that_lacks_a_letter_shows_its_number() -> None:
    code = "from deploykit.terminal import echo; echo('caf\\u00e9 \\u732b \\udcff')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert done.stdout == b"caf\\xe9 \\u732b \\udcff\n"


def test_json_has_nothing_that_a_terminal_obeys() -> None:
    text = "a\x9b2J\u202e\x7f\udcff\u732b"
    shown = as_json({text: [text]})
    assert json.loads(shown) == {text: [text]}
    assert shown.encode("utf-8")
    assert "\\u009b2J\\u202e\\u007f\\udcff\u732b" in shown


def test_a_thousand_lines_of_a_key_are_enough() -> None:
    lines = pairs([("notes", ["a"] * 5000)])
    assert len(lines) == 1001
    assert plain(lines[-1]).strip() == "... and 4,000 more"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stdout and stderr are a terminal of 60 columns."""
    monkeypatch.setattr(terminal, "is_terminal", lambda *, err=False: True)
    monkeypatch.setenv("COLUMNS", "60")


def test_values_wrap_between_words(narrow: None) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    lines = [plain(line) for line in pairs([("key", [words, "short"]), ("longer key", "x")])]
    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines[:-2]).split()) == f"key {words}"
    assert all(line.startswith(" " * 16) for line in lines[1:-2])
    assert lines[-2:] == ["              short", "  longer key  x"]


def test_commands_and_long_words_stay_whole(narrow: None) -> None:
    command = "deploykit predict " + " ".join(f"picture{n}.png" for n in range(9))
    hint = paragraph(f"Export it with its own library, or else with torch.onnx.export: {command}", indent=2)
    assert [line.strip() for line in hint[-2:]] == ["torch.onnx.export:", command]
    path = "/".join(["folder"] * 20)
    assert [plain(line) for line in pairs([("next", command)])] == [f"  next  {command}"]
    assert plain(pairs([("file", f"at {path}")])[1]).strip() == path


def test_colours_take_no_room(narrow: None) -> None:
    value = " ".join(strong(f"w{n}") for n in range(12))
    (line,) = pairs([("key", value)])
    assert len(plain(line)) == len("  key  ") + len(plain(value))


def test_wide_tables_come_in_parts(narrow: None) -> None:
    header = ("", *(f"column{n}" for n in range(9)))
    lines = [plain(line) for line in columns(header, [("a name", *"123456789"), ("b", *"987654321")])]
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("  a name") for line in lines) == 2
    assert [word for line in lines if "column" in line for word in line.split()] == list(header[1:])


def test_elsewhere_lines_have_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = "word " * 40
    assert len(pairs([("key", words)])) == len(paragraph(words)) == 1
    assert len(columns(["c" * 20] * 9, [["1"] * 9])) == 2


def test_a_dumb_terminal_gets_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert terminal.color() is False
    code = "import pty, sys; pty.spawn([sys.executable, '-m', 'deploykit', 'inspect', 'none.onnx'])"
    for kind, coloured in (("dumb", False), ("xterm", True)):
        environment = {**os.environ, "TERM": kind}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
        assert (b"\x1b[" in done.stdout) is coloured
        assert b"none.onnx" in done.stdout


def test_wrapping_keeps_columns_apart() -> None:
    """The name of a picture and its answer are two spaces apart also where the answer takes several lines."""
    lines = list(terminal._wrapped(["a.png  tiger cat 0.408, Egyptian cat 0.340"], 30))
    assert lines == ["a.png  tiger cat 0.408,", "  Egyptian cat 0.340"]
    lines = list(terminal._wrapped(["use another machine, and there: pip install tensorrt cuda"], 34))
    assert lines == ["use another machine, and there:", "  pip install tensorrt cuda"]
