"""Values of options: what is taken, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.arguments import (
    MAX_SIDE,
    as_count,
    as_counts,
    as_flag,
    as_names,
    as_number,
    as_path,
    as_size,
    as_text,
    as_texts,
    as_words,
    known_keywords,
    refuse_unknown,
    suggestion,
)
from hypothesis import given
from hypothesis import strategies as st

SIDES = st.integers(1, MAX_SIDE)


@given(SIDES, SIDES)
def test_sizes_in_every_form(height: int, width: int) -> None:
    for form in (
        (height, width),
        [height, width],
        np.array([height, width]),
        f"{height},{width}",
        f"{height}x{width}",
        f"{height}X{width}",
    ):
        assert as_size(form) == (height, width)
    assert as_size(height) == as_size(str(height)) == as_size((height,)) == (height, height)
    assert all(type(side) is int for side in as_size(np.array([height, width])) or ())


@pytest.mark.parametrize(
    "value",
    [0, -1, True, 1.5, MAX_SIDE + 1, "", "a", "1,2,3", "1.5", "٣", (), (1, 2, 3), ("1",), (True,), object()],
)
def test_other_sizes_are_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="imgsz wants H or H,W"):
        as_size(value)


@given(st.text())
def test_any_text_gives_a_size_or_an_option_error(text: str) -> None:
    try:
        height, width = as_size(text) or (0, 0)
    except OptionError:
        return
    assert 1 <= height <= MAX_SIDE
    assert 1 <= width <= MAX_SIDE


def test_words() -> None:
    assert as_words("a, b", "x") == as_words(["a", " b"], "x") == as_words(iter("ab"), "x") == ("a", "b")
    assert as_words(None, "x") == ()
    for wrong in (3, [3], ["a", None]):
        with pytest.raises(OptionError, match="x wants words"):
            as_words(wrong, "x")


def test_paths() -> None:
    assert as_path("a/b", "-o") == as_path(Path("a/b"), "-o") == Path("a/b")
    assert as_path("~/a", "-o") == Path.home() / "a"
    assert as_path("~no-such-user/a", "-o") == Path("~no-such-user/a")
    assert as_path(None, "-o") is None
    for wrong in ("", 3, b"a"):
        with pytest.raises(OptionError, match="-o wants a path"):
            as_path(wrong, "-o")


def test_numbers() -> None:
    assert as_count(np.int32(3), "n") == 3
    assert as_number(1, "n") == 1.0
    assert as_number(np.float32(0.5), "n") == 0.5
    assert as_flag(False, "n") is False
    for form, wrong in (
        (as_count, (0, 1.0, True, "1")),
        (as_number, ("1", True, float("nan"))),
        (as_flag, (1, "no")),
    ):
        for value in wrong:
            with pytest.raises(OptionError, match="n wants"):
                form(value, "n")


def test_several() -> None:
    assert as_counts("1,8", "n") == as_counts([1, np.int64(8)], "n") == (1, 8)
    assert as_counts(8, "n") == (8,)
    assert as_counts(None, "n") == ()
    for wrong in ("0", "-1", "1,,2", "1.5", "٣", "", [0], ["1"], 1.5, {"a": 1}):
        with pytest.raises(OptionError, match="n wants"):
            as_counts(wrong, "n")
    assert as_names(("a,b", " c ", ","), "n") == ("a", "b", "c")
    assert as_texts("a:1,2", "n") == as_texts(["a:1,2"], "n") == ("a:1,2",)
    assert as_text(Path("a"), "n") == as_text("a", "n") == "a"
    with pytest.raises(OptionError, match="n wants a text"):
        as_text(3, "n")


def test_suggestions() -> None:
    assert suggestion("bach", ("batch", "height")) == "Did you mean batch?"
    assert suggestion("zzz", ("batch", "height")) == ""


@known_keywords("brew()")
def brew(kind: str, *, conf: float = 0.0, imgsz: int = 1) -> tuple[str, float, int]:
    return kind, conf, imgsz


def test_known_keywords_pass() -> None:
    assert brew("tea", conf=0.5) == ("tea", 0.5, 1)
    assert brew(kind="tea") == ("tea", 0.0, 1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: brew("tea", cnof=1), "brew() has no option 'cnof'.\n  Did you mean conf?"),
        (lambda: brew("tea", threshold=1), "Did you mean conf?"),
        (lambda: brew("tea", image_size=1), "Did you mean imgsz?"),
        (lambda: brew("tea", zzz=1), "Its options are kind, conf, imgsz."),
        (lambda: refuse_unknown(["names"], ["conf"], where="f()"), "Its options are conf."),
    ],
)
def test_unknown_keywords_name_the_nearest(call: Any, expected: str) -> None:
    with pytest.raises(OptionError) as caught:
        call()
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "form",
    [as_size, as_path, as_words, as_names, as_texts, as_text, as_count, as_counts, as_number, as_flag],
)
def test_what_is_large_is_told_in_a_few_words(form: Any) -> None:
    with pytest.raises(OptionError) as caught:
        form({"weights": np.zeros(10_000)}, "imgsz")
    assert len(str(caught.value)) < 250
