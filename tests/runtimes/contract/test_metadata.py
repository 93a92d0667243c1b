"""ModelSpec <-> metadata: lossless, flat, documented, and strict with damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_runtimes.contract.metadata import has_metadata, spec_from_metadata, spec_to_metadata
from deploykit_runtimes.contract.spec import (
    AxisRange,
    InputSpec,
    ModelSpec,
    OutputSpec,
    ParityRecord,
    PrecisionRecord,
    Preprocess,
)
from deploykit_runtimes.errors import ModelError
from hypothesis import given
from hypothesis import strategies as st

LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(
    lambda text: " ".join(text.splitlines()).strip() or "x"
)
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
SIZE = st.integers(1, 10_000)


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    classes = tuple(draw(st.lists(LINE, max_size=5)))
    axes = draw(st.lists(st.sampled_from(["batch", "height", "width"]), unique=True))
    low = draw(st.integers(1, 64))
    return ModelSpec(
        task=draw(st.sampled_from(["classify", "detect", "segment", "pose", "obb", "features"])),
        family=draw(LINE),
        variant=draw(LINE),
        origin=draw(LINE),
        input=InputSpec(
            height=draw(SIZE),
            width=draw(SIZE),
            batch=draw(SIZE),
            dynamic={axis: AxisRange(min=low, max=low * draw(st.integers(1, 50)), step=low) for axis in axes},
        ),
        preprocess=Preprocess(
            resize=draw(st.sampled_from(["none", "stretch", "short", "letterbox"])),
            resize_to=tuple(draw(st.lists(SIZE, max_size=2))),
            crop=draw(st.none() | st.tuples(SIZE, SIZE)),
            scale=draw(FINITE),
            mean=tuple(draw(st.lists(FINITE, min_size=3, max_size=3))),
            scale_up=draw(st.booleans()),
        ),
        output=OutputSpec(names=("boxes", "protos"), layout="yolo", conf=draw(FINITE), keypoints=(17, 3)),
        classes=classes,
        num_classes=len(classes),
        assumed=tuple(draw(st.lists(LINE, max_size=3))),
        parity=draw(
            st.none()
            | st.builds(
                ParityRecord,
                max_abs=FINITE,
                max_rel=FINITE,
                top1=FINITE,
                tolerance=FINITE,
                shapes=st.just(("1x3x224x224", "2x3x111x97")),
                inputs=st.just(("photo", "noise")),
                reference=LINE,
                engine=LINE,
            )
        ),
        precision=draw(
            st.none()
            | st.builds(
                PrecisionRecord,
                compute=st.sampled_from(["fp16", "int8"]),
                target=st.sampled_from(["any", "ort-cpu", "trt"]),
                cpus=st.sampled_from([(), ("vnni",), ("vnni", "no-vnni")]),
                data=LINE,
                images=SIZE,
                budget=FINITE,
                accuracy=FINITE,
                kept=st.lists(LINE, max_size=3).map(tuple),
            )
        ),
    )


@given(specs())
def test_a_spec_survives_its_metadata(spec: ModelSpec) -> None:
    keys = spec_to_metadata(spec)
    assert has_metadata(keys)
    assert all(isinstance(value, str) for value in keys.values())
    assert spec_from_metadata(keys) == spec


def sample() -> ModelSpec:
    return ModelSpec(
        task="classify",
        family="vit",
        variant="vit_tiny",
        origin="timm",
        input=InputSpec(height=224, width=224, dynamic={"batch": AxisRange(min=1, max=8)}),
        preprocess=Preprocess(resize="short", resize_to=(256,), crop=(224, 224)),
        output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
        num_classes=10,
        parity=ParityRecord(
            max_abs=1e-6,
            max_rel=1e-6,
            top1=1.0,
            tolerance=1e-4,
            shapes=("1x3x224x224",),
            inputs=("photo",),
            reference="torch",
            engine="onnxruntime",
        ),
    )


def test_every_key_is_documented() -> None:
    document = (Path(__file__).parents[3] / "docs/spec.md").read_text()
    missing = [
        key
        for key in spec_to_metadata(sample())
        if f"`{key}`" not in document and f"`{key.rpartition('.')[2]}`" not in document
    ]
    assert missing == []


def test_unknown_keys_are_ignored() -> None:
    assert spec_from_metadata({**spec_to_metadata(sample()), "deploykit.new": "1", "other": "x"}) == sample()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("deploykit.format", "2", "format '2'"),
        ("deploykit.task", "dance", "classify"),
        ("deploykit.input.height", "tall", "tall"),
        ("deploykit.input.height", "1 2", "one number"),
        ("deploykit.input.dynamic.batch", "1 8", "min max step"),
        ("deploykit.input.dynamic.batch", "8 1 1", "0 < min <= max"),
        ("deploykit.input.dynamic.depth", "1 8 1", "depth"),
        ("deploykit.preprocess.mean", "a b c", "a b c"),
        ("deploykit.preprocess.mean", "nan 0 0", "finite"),
        ("deploykit.preprocess.crop", "224", "2 values"),
        ("deploykit.classes", "a\nb", "10 classes"),
    ],
)
def test_damaged_metadata_is_refused_by_name(key: str, value: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        spec_from_metadata({**spec_to_metadata(sample()), key: value})


@pytest.mark.parametrize("key", ["deploykit.task", "deploykit.input.height", "deploykit.output.names"])
def test_a_missing_key_is_named(key: str) -> None:
    keys = spec_to_metadata(sample())
    del keys[key]
    with pytest.raises(ModelError, match=key):
        spec_from_metadata(keys)


def test_what_utf_8_has_no_form_for_stands_as_its_number() -> None:
    spec = ModelSpec(
        task="classify",
        family="vit",
        variant="a\ud800",
        origin="timm",
        input=InputSpec(height=8, width=8),
        preprocess=Preprocess(),
        output=OutputSpec(names=("logits",), layout="logits"),
        classes=("b\udcff\nc", "d"),
    )
    keys = spec_to_metadata(spec)
    assert keys["deploykit.variant"] == "a\\ud800"
    assert keys["deploykit.classes"] == "b\\udcff c\nd"
