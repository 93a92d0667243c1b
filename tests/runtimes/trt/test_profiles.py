"""Optimisation profiles: what is read, what is refused, and what a model gets by default."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deploykit_runtimes.contract.spec import AxisRange, ModelSpec, Preprocess
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import InputError, OptionError
from deploykit_runtimes.trt.profiles import (
    ShapeRange,
    as_profile_texts,
    choose,
    default_profile,
    describe_profile,
    parse_profiles,
)
from hypothesis import given
from hypothesis import strategies as st

IMAGES = TensorInfo(name="images", dtype="float32", shape=("batch", 3, "height", "width"))
CONF = TensorInfo(name="conf", dtype="float32", shape=())


@pytest.fixture
def spec(classifier_spec: ModelSpec) -> ModelSpec:
    """Batch 1..4, sides 8..64 in steps of 8, its own size 32."""
    return classifier_spec


def shapes(low: str, best: str, high: str) -> ShapeRange:
    parsed = [tuple(int(n) for n in text.split("x")) for text in (low, best, high)]
    return ShapeRange(min=parsed[0], opt=parsed[1], max=parsed[2])


def test_three_shapes_are_smallest_best_and_largest(spec: ModelSpec) -> None:
    text = "images:1x3x8x16,2x3x32x32,4x3x64x64"
    (profile,) = parse_profiles([text], spec, [IMAGES])
    assert profile == {"images": shapes("1x3x8x16", "2x3x32x32", "4x3x64x64")}
    assert as_profile_texts([profile]) == (text,)


def test_one_shape_is_all_three_and_needs_no_name(spec: ModelSpec) -> None:
    assert parse_profiles(["2x3x32x32"], spec, [IMAGES]) == ({"images": shapes(*["2x3x32x32"] * 3)},)


def test_a_name_that_comes_again_starts_a_profile(spec: ModelSpec) -> None:
    profiles = parse_profiles(["images:1x3x32x32", "images:4x3x64x64"], spec, [IMAGES, CONF])
    assert [profile["images"].opt for profile in profiles] == [(1, 3, 32, 32), (4, 3, 64, 64)]
    assert all(profile["conf"].opt == () for profile in profiles)
    assert choose(profiles, {"images": (4, 3, 64, 64), "conf": ()}) == 1


def test_the_default_is_what_the_model_declares(spec: ModelSpec) -> None:
    assert parse_profiles([], spec, [IMAGES]) == (default_profile(spec, [IMAGES]),)
    assert default_profile(spec, [IMAGES]) == {"images": shapes("1x3x8x8", "1x3x32x32", "4x3x64x64")}


def test_fixed_axes_stay_as_the_graph_has_them(spec: ModelSpec) -> None:
    fixed = replace(spec, input=replace(spec.input, dynamic={}))
    info = TensorInfo(name="images", dtype="float32", shape=(1, 3, 32, 32))
    assert default_profile(fixed, [info]) == {"images": shapes(*["1x3x32x32"] * 3)}


@pytest.mark.parametrize(
    ("batch", "side", "expected"),
    [(1024, 224, "32x3x224x224"), (64, 1280, "20x3x1280x1280"), (64, 8192, "1x3x5792x5792")],
)
def test_the_largest_default_batch_is_one_that_fits(
    spec: ModelSpec, batch: int, side: int, expected: str
) -> None:
    sides = AxisRange(min=32, max=side, step=32)
    dynamic = {"batch": AxisRange(min=1, max=batch), "height": sides, "width": sides}
    large = replace(spec, input=replace(spec.input, dynamic=dynamic))
    assert default_profile(large, [IMAGES])["images"].max == shapes(*[expected] * 3).max


def test_whole_photos_get_photo_sized_profiles(spec: ModelSpec) -> None:
    sides = AxisRange(min=1, max=16384)
    dynamic = {"batch": AxisRange(min=1, max=1024), "height": sides, "width": sides}
    raw = replace(spec.input, layout="NHWC", dtype="uint8", dynamic=dynamic)
    photos = replace(spec, input=raw, network=spec.input, preprocess=Preprocess(included=True))
    info = TensorInfo(name="images", dtype="uint8", shape=("batch", "height", "width", 3))
    assert default_profile(photos, [info]) == {"images": shapes("1x1x1x3", "1x32x32x3", "8x4096x4096x3")}


def test_ranges_that_were_guessed_stay_modest(spec: ModelSpec) -> None:
    sides = AxisRange(min=1, max=8192)
    dynamic = {"batch": AxisRange(min=1, max=1024), "height": sides, "width": sides}
    foreign = replace(spec, inferred=True, input=replace(spec.input, dynamic=dynamic))
    assert default_profile(foreign, [IMAGES])["images"].max == (20, 3, 1280, 1280)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "NAME:MIN,OPT,MAX"),
        ("images", "NAME:MIN,OPT,MAX"),
        ("images:", "NAME:MIN,OPT,MAX"),
        ("images:1x3x32x32,2x3x32x32", "NAME:MIN,OPT,MAX"),
        ("images:1x3x32x-32", "NAME:MIN,OPT,MAX"),
        ("images:1x3x32x32x9999999999", "NAME:MIN,OPT,MAX"),
        ("images:1x3x٣٢x32", "NAME:MIN,OPT,MAX"),
        ("picture:1x3x32x32", "'picture', the model takes images"),
        ("images:3x32x32", "has 4 axes"),
        ("images:1x4x32x32", "fixed to 3 on axis 1, found 4"),
        ("images:1x3x32x33", r"accepts width 8\.\.64 in steps of 8, found 33"),
        ("images:0x3x32x32", r"accepts batch 1\.\.4, found 0"),
        ("images:8x3x32x32", r"accepts batch 1\.\.4, found 8"),
        ("images:2x3x32x32,1x3x32x32,4x3x32x32", "MIN <= OPT <= MAX"),
        ("images:1x3x64x64,1x3x32x32,1x3x8x8", "MIN <= OPT <= MAX"),
    ],
)
def test_wrong_shapes_are_refused(text: str, problem: str, spec: ModelSpec) -> None:
    with pytest.raises(OptionError, match=problem):
        parse_profiles([text], spec, [IMAGES])


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    from deploykit_runtimes.contract.inferred_spec import infer_spec

    output = TensorInfo(name="logits", dtype="float32", shape=("batch", 3))
    spec = infer_spec((IMAGES,), (output,), {})
    for given_text in (text, f"images:{text}"):
        try:
            parse_profiles([given_text], spec, [IMAGES])
        except OptionError:
            continue


sizes = st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8))


@given(st.lists(sizes, min_size=3, max_size=3), sizes)
def test_a_profile_takes_exactly_what_lies_between(
    ends: list[tuple[int, ...]], found: tuple[int, ...]
) -> None:
    low, best, high = (tuple(sorted(axis)[i] for axis in zip(*ends, strict=True)) for i in range(3))
    profile = {"images": ShapeRange(min=low, opt=best, max=high)}
    inside = all(a <= n <= b for a, n, b in zip(low, found, high, strict=True))
    try:
        assert choose([profile], {"images": found}) == 0
        assert inside
    except InputError:
        assert not inside


def test_descriptions_leave_out_what_does_not_move() -> None:
    profile = {"images": shapes("1x3x8x8", "2x3x8x8", "4x3x8x8"), "conf": ShapeRange(min=(), opt=(), max=())}
    assert describe_profile(profile) == "images 1x3x8x8 to 4x3x8x8, best at 2x3x8x8"
    assert describe_profile({"conf": profile["conf"]}) == "conf scalar"
