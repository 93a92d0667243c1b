"""Classification inside the graph equals the host."""

import numpy as np
import pytest
import torch
from deploykit_runtimes.answers.results import Classification
from deploykit_runtimes.contract.spec import Preprocess
from postprocessing import spec_of


@pytest.mark.parametrize(
    ("layout", "activation", "classes"),
    [
        ("logits", "softmax", 1000),
        ("logits", "softmax", 2),
        ("logits", "sigmoid", 40),
        ("logits", "softmax", 1),
        ("logits", "none", 7),
        ("probabilities", "softmax", 30),
    ],
)
def test_classification(layout: str, activation: str, classes: int, finish) -> None:
    how = Preprocess(resize="short", resize_to=(150,), crop=(128, 160))
    core = spec_of(layout, "classify", classes, how, activation=activation)
    random = np.random.default_rng(classes)
    graph = finish(core, [torch.rand(2, classes)])
    assert graph.output.top_k == min(5, classes)
    for batch, scale in ((1, 5), (3, 1), (2, 60)):
        logits = random.normal(0, scale, (batch, classes)).astype(np.float32)
        for values in (logits, logits.round(), np.zeros_like(logits)):
            for engine, found in graph.answers((97, 33), values).items():
                for row, result in enumerate(graph.expected((97, 33), values)):
                    assert isinstance(result, Classification)
                    assert found["classes"][row].tolist() == [entry.class_id for entry in result.top], engine
                    scores = [entry.score for entry in result.top]
                    np.testing.assert_allclose(found["probabilities"][row], scores, 1e-5, 1e-7)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_classification_of_what_is_no_number(value: float, activation: str, finish) -> None:
    """The row is NaN, which the host refuses; its neighbour is not."""
    core = spec_of(
        "logits", "classify", 9, Preprocess(resize="stretch", resize_to=(128, 160)), activation=activation
    )
    graph = finish(core, [torch.rand(2, 9)])
    logits = np.arange(18, dtype=np.float32).reshape(2, 9)
    logits[1, 3] = value
    for found in graph.answers((97, 33), logits).values():
        assert np.isnan(found["probabilities"][1]).all()
        assert found["classes"][0].tolist() == [8, 7, 6, 5, 4]
        assert np.isfinite(found["probabilities"][0]).all()
