"""Names, and which models are taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from deploykit_runtimes.errors import ModelError, OptionError
from hypothesis import given
from hypothesis import strategies as st

from deploykit.package.models import dns_label, dns_labels, read_models

Classifier = Callable[..., Path]


@given(st.text(max_size=200))
def test_labels_are_names_of_services(name: str) -> None:
    try:
        label = dns_label(name)
    except OptionError:
        assert not re.search(r"[a-z0-9]", name.lower()[:200], re.ASCII) or len(name) > 53
    else:
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", label)
        assert len(f"{label}-predictor") <= 63


@pytest.mark.parametrize(
    ("name", "label"),
    [("yolo11n", "yolo11n"), ("ViT_B.16", "vit-b-16"), ("16x9", "m-16x9"), ("a" * 80, "a" * 53)],
)
def test_label(name: str, label: str) -> None:
    assert dns_label(name) == label


def test_names(classifier: Classifier) -> None:
    plain, equals = classifier(), classifier("a=b.onnx")
    with pytest.raises(OptionError, match="found 'a=b'") as refused:
        read_models([equals])
    assert f"a_b={equals}" in refused.value.hint
    models = read_models([plain, f"cat={plain}", f"good={equals}"])
    assert [(model.name, model.path) for model in models] == [
        ("mean", plain),
        ("cat", plain),
        ("good", equals),
    ]


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", "x-", "é", "a" * 129, "x\n"])
def test_bad_names(name: str, classifier: Classifier) -> None:
    with pytest.raises((OptionError, ModelError)):
        read_models([f"{name}={classifier()}"])


def test_a_name_comes_once(classifier: Classifier) -> None:
    with pytest.raises(OptionError, match="2 models are named 'mean'"):
        read_models([classifier(), classifier("other/mean.onnx")])
    models = read_models([f"a.b={classifier()}", f"a_b={classifier()}"])
    with pytest.raises(OptionError, match="'a-b'"):
        dns_labels(models)


def test_what_is_no_model(tmp_path: Path, classifier: Classifier) -> None:
    (tmp_path / "x.engine").write_bytes(b"plan")
    (tmp_path / "x.onnx").write_bytes(b"\x08\x09\x12 nonsense")
    for given_, message in (
        (tmp_path / "x.engine", "is an engine"),
        (tmp_path / "x.onnx", "not a valid ONNX model"),
        (tmp_path / "none.onnx", "does not exist"),
        (tmp_path / "empty", "does not exist"),
    ):
        with pytest.raises(ModelError, match=message):
            read_models([given_])
    with pytest.raises(OptionError, match="at least one model"):
        read_models([])


def test_a_built_folder_gives_its_model(tmp_path: Path, classifier: Classifier) -> None:
    built = classifier("built/mean.onnx").parent
    (built / "mean.trt.engine").write_bytes(b"plan")
    assert read_models([built])[0].path == built / "mean.onnx"
