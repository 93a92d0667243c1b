"""Options that are declared once: what a field reads, refuses and says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from deploykit_runtimes.build_options import BuildOptions
from deploykit_runtimes.engine_options import EngineKeywords, EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import Options, declared, option, options_of, put_over, same_as
from deploykit_runtimes.prediction.options import PredictKeywords, PredictOptions
from hypothesis import given
from hypothesis import strategies as st


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class Kettle(Options):
    """How water is boiled."""

    litres: float = option(1.0, "How much.", "More boils over.", above=0, most=2)
    cups: int | None = option(None, "For how many.", least=1)
    tea: Literal["green", "black"] = option("green", "Which.")
    whistle: bool = option(True, "Be quiet.", "True: whistle.")
    shelf: Path | None = option(None, "Where it stands.", path="folder")
    grades: tuple[int, ...] = option((), "Temperatures.", form="counts", flags="--grade")
    secret: str = option("", "Not for the command line.", flags=())


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class Samovar(Kettle):
    """A larger one."""

    cups: int | None = same_as(Kettle, "cups", default=20, help="For many.")


def test_values_are_brought_into_the_form_of_their_field() -> None:
    made = Kettle(litres=1, cups=2, shelf="~/a", grades="80,90")  # type: ignore[arg-type]
    assert made == Kettle(litres=1.0, cups=2, shelf=Path.home() / "a", grades=(80, 90))
    assert isinstance(made.litres, float)
    assert repr(made) == f"Kettle(cups=2, shelf={Path.home() / 'a'!r}, grades=(80, 90))"
    assert replace(made, cups=None).cups is None
    assert Kettle(**made.keywords()) == made


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"litres": 3}, "--litres wants a number above 0, at most 2, found 3."),
        ({"litres": 0}, "--litres wants a number above 0, at most 2, found 0."),
        ({"litres": "1"}, "--litres wants a number, found '1'."),
        ({"cups": 0}, "--cups wants a whole number of at least 1, found 0."),
        ({"cups": 1.5}, "--cups wants a whole number, found 1.5."),
        ({"tea": "balck"}, "--tea wants one of green, black, found 'balck'.\n  Did you mean black?"),
        ({"tea": None}, "--tea wants one of green, black, found None."),
        ({"whistle": "no"}, "--whistle wants True or False, found 'no'."),
        ({"whistle": None}, "--whistle wants True or False, found None."),
        ({"grades": "hot"}, "--grade wants positive numbers joined by commas, found 'hot'."),
        ({"secret": 3}, "--secret wants a text, found 3."),
        ({"cup": 3}, "Kettle has no option 'cup'.\n  Did you mean cups?"),
    ],
)
def test_other_values_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError) as caught:
        Kettle(**wrong)
    assert str(caught.value) == told


def test_the_docstring_explains_every_field() -> None:
    text = Kettle.__doc__ or ""
    assert text.startswith("How water is boiled.\n\nAttributes:\n")
    assert "    litres: How much. More boils over.\n" in text
    assert "    whistle: False: Be quiet. True: whistle.\n" in text
    for record in (EngineOptions, BuildOptions, PredictOptions):
        assert all(f"    {each.name}: " in (record.__doc__ or "") for each in options_of(record))


def test_a_field_of_another_dataclass() -> None:
    assert Samovar().cups == 20
    one, other = ({each.name: each for each in options_of(kind)} for kind in (Kettle, Samovar))
    assert (one["cups"].help, other["cups"].help) == ("For how many.", "For many.")
    assert (other["cups"].least, other["litres"]) == (1, one["litres"])


def test_keywords_are_put_over_options() -> None:
    given = Kettle(cups=2, tea="black")
    assert put_over(given, Kettle, {"cups": 3, "runs": 1}) == Kettle(cups=3, tea="black")
    assert put_over(None, Kettle, {}) == Kettle()
    with pytest.raises(OptionError, match="engine wants Kettle, found dict"):
        put_over({"cups": 1}, Kettle, {}, "engine")


def test_the_keywords_are_the_fields() -> None:
    for keywords, record in ((EngineKeywords, EngineOptions), (PredictKeywords, PredictOptions)):
        assert set(keywords.__annotations__) == {each.name for each in options_of(record)}


@given(st.one_of(st.integers(), st.floats(), st.text(), st.none(), st.booleans(), st.lists(st.integers())))
def test_whatever_is_given_is_read_or_refused(value: object) -> None:
    for each in options_of(EngineOptions):
        try:
            made = EngineOptions(**{each.name: value})
        except OptionError as error:
            assert error.problem
            continue
        assert EngineOptions(**{each.name: getattr(made, each.name)}) == made


@pytest.mark.parametrize("text", ["8", "8.6.1", "sm_86", "8,6"])
def test_compute_capabilities(text: str) -> None:
    with pytest.raises(OptionError, match="wants compute capabilities such as"):
        BuildOptions(compute_capabilities=text)  # type: ignore[arg-type]
