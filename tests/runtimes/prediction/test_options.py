"""Options that other libraries have in their ``predict`` are answered with where they are here."""

from __future__ import annotations

import re

import numpy as np
import pytest
from deploykit_runtimes.answers.results import Detections
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.prediction.options import ELSEWHERE, PredictKeywords
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.testing import FakeRunner

IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> Predictor:
    spec = ModelSpec(
        task="classify",
        family="any",
        variant="any",
        origin="any",
        input=InputSpec(height=8, width=8),
        preprocess=Preprocess(resize="stretch", resize_to=(8, 8)),
        output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
        num_classes=3,
    )
    return Predictor(FakeRunner(spec, lambda images: {"logits": images.mean((2, 3))}))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_options_that_are_elsewhere(model: Predictor, name: str) -> None:
    with pytest.raises(OptionError, match=re.escape(f"predict() has no option '{name}'")) as caught:
        model(IMAGE, **{name: True})  # type: ignore[call-overload]
    assert caught.value.hint == ELSEWHERE[name]


def test_the_answers_name_what_exists() -> None:
    assert not set(ELSEWHERE) & set(PredictKeywords.__annotations__)
    text = " ".join(ELSEWHERE.values())
    for method in re.findall(r"result\.(\w+)\(", text):
        assert callable(getattr(Detections, method))
    for option in re.findall(r"\b(\w+)=", text):
        assert option in {*PredictKeywords.__annotations__, "device", "runtime", "precision"}


def test_other_words_are_answered_with_the_nearest(model: Predictor) -> None:
    for given, meant in (("confidence", "conf"), ("size", "imgsz"), ("topk", "top_k"), ("bgrr", "bgr")):
        with pytest.raises(OptionError) as caught:
            model(IMAGE, **{given: 1})  # type: ignore[call-overload]
        assert caught.value.hint == f"Did you mean {meant}?"
