"""Golden cases as metadata: what is written is read back, and what is forged is refused."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.selftest.bits import noise
from deploykit_runtimes.selftest.cases import (
    GOLDEN,
    Case,
    KeptRows,
    KeptValues,
    Slice,
    cases_from_keys,
    cases_to_keys,
)
from hypothesis import given
from hypothesis import strategies as st

TOLERANCES = {"fp32": (1e-5, 2e-5), "fp16": (0.01, 0.02)}


def values_kept(*, best: bool = True) -> KeptValues:
    return KeptValues(
        part=Slice(output="out", axis=1, start=4, stop=9, log=True, best=best),
        samples=np.linspace(-3, 5, 7, dtype=np.float32),
        means=np.arange(5, dtype=np.float32),
        best=np.array([3, 1] if best else [], np.int64),
        margins=np.array([0.5, 0.25] if best else [], np.float32),
        tolerances=TOLERANCES,
    )


def rows_kept() -> KeptRows:
    return KeptRows(
        box=4,
        extra=1,
        rows=np.arange(24, dtype=np.float32).reshape(3, 8),
        cuts=np.array([-1.5, -np.inf], np.float32),
        tolerances={"fp32": (1e-5, 0.5, 0.0)},
    )


def cases() -> tuple[Case, ...]:
    picture = noise(3, (1, 6, 5, 3))[0]
    return (
        Case(picture=picture, batch=2, height=8, width=9, stage="image", kept=(values_kept(), rows_kept())),
        Case(
            picture=None,
            seed=7,
            batch=2,
            height=4,
            width=4,
            stage="tensor",
            soft=2,
            kept=(values_kept(best=False),),
        ),
        Case(picture=picture, batch=1, height=3, width=3, stage="tensor", kept=(values_kept(best=False),)),
    )


def equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(
            equal(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__
        )
    return one == other


def test_cases_are_read_back() -> None:
    keys = cases_to_keys(cases())
    assert all(key.startswith(GOLDEN) for key in keys)
    assert keys[f"{GOLDEN}pictures"] == "1"
    assert equal(cases_from_keys(keys), cases())


def test_a_file_without_cases_has_none() -> None:
    assert cases_from_keys({}) == ()
    assert cases_from_keys({f"{GOLDEN}0.images": "noise 1 1 1 1 image 0"}) == ()


@pytest.mark.parametrize("key", sorted(cases_to_keys(cases())))
def test_a_key_that_is_missing_is_named_or_not_needed(key: str) -> None:
    keys = cases_to_keys(cases())
    del keys[key]
    if key.endswith(("cases", "tolerance.fp32", "tolerance.fp16", ".best")):
        cases_from_keys(keys)
        return
    with pytest.raises(ModelError, match=key.removeprefix(GOLDEN)):
        cases_from_keys(keys)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("cases", "17"),
        ("cases", "-1"),
        ("cases", "two"),
        ("cases", "1 2"),
        ("pictures", "99999999999999999999"),
        ("picture.0", "6 5 3"),
        ("picture.0", "6 5 4 AAAA"),
        ("picture.0", "6 5 3 !!!!"),
        ("picture.0", "100000 100000 3 AAAA"),
        ("0.images", "picture 1 2 8 9 image 0"),
        ("0.images", "picture 0 2 8 9 sound 0"),
        ("0.images", "picture 0 0 8 9 image 0"),
        ("0.images", "picture 0 1024 16384 16384 image 0"),
        ("0.images", "picture 0 2 8 9 image 99"),
        ("0.images", "drawing 0 2 8 9 image 0"),
        ("1.images", "noise 99999999999999999999 2 8 9 image 0"),
        ("0.outputs", "1000"),
        ("0.0.kind", "sounds"),
        ("0.0.slice", "1 4"),
        ("0.0.log", "2"),
        ("0.0.samples", "AAA"),
        ("0.0.samples", base64.b64encode(bytes(4 * 65537)).decode()),
        ("0.0.best", "1"),
        ("0.0.margins", "AAAAAA=="),
        ("0.0.tolerance.fp32", "1e-5"),
        ("0.0.tolerance.fp32", "1e-5 inf"),
        ("0.0.tolerance.fp32", "1e-5 -1"),
        ("0.1.columns", "-1 3"),
        ("0.1.rows", "AAAAAA=="),
        ("0.1.cuts", "AAAAAA=="),
    ],
)
def test_forged_keys_are_refused(key: str, text: str) -> None:
    with pytest.raises(ModelError, match="golden"):
        cases_from_keys({**cases_to_keys(cases()), GOLDEN + key: text})


@given(st.sampled_from(sorted(cases_to_keys(cases()))), st.text(max_size=60))
def test_any_text_is_read_or_refused(key: str, text: str) -> None:
    try:
        cases_from_keys({**cases_to_keys(cases()), key: text})
    except ModelError as error:
        assert len(error.problem) < 500
